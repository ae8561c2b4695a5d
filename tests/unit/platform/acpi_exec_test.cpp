// The DSDT executed by ACPICA's interpreter, as an operating system's would.
#include <map>
#include <regex>

#include "acpica_fixture.hpp"
#include "platform/pci_routing.hpp"

namespace bhyve::platform {
namespace {

class AcpiExec : public Acpica {
 protected:
  /// What acpiexec prints from the first command on. (Before it tests itself with registers that no machine
  /// of today has.)
  std::string execute(const std::string& commands) {
    const Result<AcpiTables> tables = make_acpi_tables(full_config());
    EXPECT_TRUE(tables) << tables.error().message;
    for (const char* signature : {"DSDT", "FACP"})
      write(std::string(signature) + ".dat", find_table(*tables, signature));
    std::ofstream(directory_ / "script") << commands << "\nintegrity\nquit\n";
    const Outcome outcome = run("acpiexec DSDT.dat FACP.dat < script");
    EXPECT_EQ(outcome.status, 0) << "is acpica-tools installed?\n" << outcome.output;
    const auto from = outcome.output.find("\n- ");
    if (from == std::string::npos) {
      ADD_FAILURE() << outcome.output;
      return "";
    }
    EXPECT_NE(outcome.output.find("Verified "), std::string::npos) << outcome.output;
    return outcome.output.substr(from);
  }
  static std::vector<std::vector<u64>> packages_of_four(const std::string& text) {
    const std::regex integer(R"(\[Integer\] = ([0-9A-F]{16}))");
    std::vector<std::vector<u64>> out;
    usize count = 0;
    for (std::sregex_iterator it(text.begin(), text.end(), integer), end; it != end; ++it, ++count) {
      if (count % 4 == 0) out.emplace_back();
      out.back().push_back(std::stoull((*it)[1], nullptr, 16));
    }
    return out;
  }
  static usize occurrences(const std::string& text, const std::string& of) {
    usize count = 0;
    for (auto at = text.find(of); at != std::string::npos; at = text.find(of, at + 1)) ++count;
    return count;
  }
};

TEST_F(AcpiExec, EveryPredefinedNameIsThereToBeEvaluated) {
  const std::string output = execute("execute predefined");
  EXPECT_EQ(occurrences(output, " returned AE_OK"), occurrences(output, " returned AE_")) << output;
  EXPECT_GE(occurrences(output, " returned AE_OK"), 90u);
  EXPECT_EQ(occurrences(output, "ACPI Error") + occurrences(output, "ACPI Exception"), 0u) << output;
  // acpiexec itself gives the two methods that take buffers numbers.
  EXPECT_EQ(occurrences(output, "ACPI Warning"), occurrences(output, "mismatch - Found [Integer]")) << output;
}

TEST_F(AcpiExec, WithApicsSlotsAreRoutedToInputsOfTheIoApic) {
  const auto routes = packages_of_four(execute("execute \\_PIC 1\nexecute \\_SB.PC00._PRT"));
  ASSERT_EQ(routes.size(), (pci_slots - 1) * pci_int_pins);
  usize at = 0;
  for (unsigned slot = 1; slot < pci_slots; ++slot) {
    for (unsigned pin = 1; pin <= pci_int_pins; ++pin)
      EXPECT_EQ(routes[at++], (std::vector<u64>{u64{slot} << 16 | 0xffff, pin - 1, 0, ioapic_pin_for(slot, pin)}));
  }
}

/// acpiexec's buffer is too small for this package: it is read from the disassembly.
TEST_F(AcpiExec, WithThePicSlotsAreRoutedToLinks) {
  EXPECT_NE(execute("execute \\_PIC 0").find("Evaluating \\_PIC"), std::string::npos);
  ASSERT_EQ(run("iasl -d DSDT.dat").status, 0);
  std::ifstream file(directory_ / "DSDT.dsl");
  const std::string source(std::istreambuf_iterator<char>(file), {});
  const std::regex entry(R"(0x([0-9A-F]{4})FFFF,\s+(\w+),\s+(?:\S*\.)?LNK([A-H]),\s+Zero)");
  const std::map<std::string, unsigned> pins{{"Zero", 1}, {"One", 2}, {"0x02", 3}, {"0x03", 4}};
  usize count = 0;
  for (std::sregex_iterator it(source.begin(), source.end(), entry), end; it != end; ++it, ++count) {
    const auto slot = static_cast<unsigned>(std::stoul((*it)[1], nullptr, 16));
    EXPECT_EQ(static_cast<unsigned>((*it)[3].str()[0] - 'A'), pirq_link_for(slot, pins.at((*it)[2])));
  }
  EXPECT_EQ(count, (pci_slots - 1) * pci_int_pins);
}

TEST_F(AcpiExec, LinksAreTurnedOffAndSetToAnInterrupt) {
  const std::string link = "execute \\_SB.PC00.ISA.LNKF.";
  const std::string output =
      execute(link + "_DIS\n" + link + "_STA\n" + link + "_CRS\n" + link + "_SRS (23 00 08 18 79 00)\n" + link +
              "_STA\n" + link + "_CRS");
  const std::regex wanted(R"(_DIS[^]*= 0000000000000009[^]*0000: 23 00 00 18[^]*_SRS[^]*= 000000000000000B[^]*)"
                          R"(0000: 23 00 08 18)");
  EXPECT_TRUE(std::regex_search(output, wanted)) << output;
}

TEST_F(AcpiExec, SoftOffIsSleepTypeFive) {
  EXPECT_NE(execute("execute \\_S5").find("[Integer] = 0000000000000005"), std::string::npos);
}

TEST_F(AcpiExec, TheOperatingSystemIsGrantedPcieCapabilitiesOnly) {
  // Asks for everything: granted is bit 4; bit 4 of the status says that the rest is not.
  const std::string output = execute(
      "execute \\_SB.PC00._OSC (5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66) 1 3"
      " (00 00 00 00 1F 00 00 00 1F 00 00 00)");
  EXPECT_NE(output.find("10 00 00 00 1F 00 00 00 10 00 00 00"), std::string::npos) << output;
}

}  // namespace
}  // namespace bhyve::platform
