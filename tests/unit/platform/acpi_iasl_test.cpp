// The tables as ACPICA's own compiler sees them: each is disassembled and the source compiled again.
#include "acpica_fixture.hpp"

namespace bhyve::platform {
namespace {

class AcpiIasl : public Acpica {
 protected:
  /// Writes the tables, takes each apart and puts it together again.
  void check(const AcpiConfig& config) {
    const Result<AcpiTables> tables = make_acpi_tables(config);
    ASSERT_TRUE(tables) << tables.error().message;
    for (const GuestBlob& blob : tables->blobs) {
      const std::string signature = text_at(blob.bytes, 0, 4);
      if (signature == "RSD ") continue;  // no system description table
      round_trip(signature, blob.bytes);
    }
  }

  void round_trip(const std::string& signature, const std::vector<u8>& bytes) {
    write(signature + ".dat", bytes);
    const Outcome apart = run("iasl -d " + signature + ".dat");
    ASSERT_EQ(apart.status, 0) << "is acpica-tools installed?\n" << apart.output;
    EXPECT_EQ(apart.output.find("Error"), std::string::npos) << apart.output;
    EXPECT_EQ(apart.output.find("Warning"), std::string::npos) << apart.output;
    EXPECT_EQ(apart.output.find("Incorrect checksum"), std::string::npos) << apart.output;
    const Outcome together = run("iasl -oa -p again " + signature + ".dsl");
    EXPECT_EQ(together.status, 0) << together.output;
    EXPECT_NE(together.output.find("0 Errors, 0 Warnings"), std::string::npos) << together.output;
    compare(signature, bytes);
  }

  /// Without optimisation (-oa) the compiler gives back what it read, but for its own id and revision
  /// in the header.
  void compare(const std::string& signature, const std::vector<u8>& bytes) {
    std::ifstream in(directory_ / "again.aml", std::ios::binary);
    const std::vector<char> again(std::istreambuf_iterator<char>(in), {});
    ASSERT_EQ(again.size(), bytes.size()) << signature;
    for (usize i = 0; i < bytes.size(); ++i) {
      const bool compilers = signature != "FACS" && (i == 9 || (i >= 28 && i < 36));
      if (!compilers) {
        ASSERT_EQ(static_cast<u8>(again[i]), bytes[i]) << signature << " at " << i;
      }
    }
    std::filesystem::remove(directory_ / "again.aml");
  }
};

TEST_F(AcpiIasl, FullMachineHasNoErrorsAndNoWarnings) { check(full_config()); }

TEST_F(AcpiIasl, SmallMachineHasNoErrorsAndNoWarnings) {
  AcpiConfig config;
  config.cpus = {{0, true}};
  config.lowmem = 64 * MiB;
  config.hpet = false;
  config.i8042 = false;
  check(config);
}

TEST_F(AcpiIasl, ManyCpusAndVgaHaveNoErrorsAndNoWarnings) {
  AcpiConfig config = full_config(300);
  config.vga = true;
  config.lpc_slot = 1;
  check(config);
}

}  // namespace
}  // namespace bhyve::platform
