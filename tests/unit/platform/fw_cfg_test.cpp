#include "platform/fw_cfg.hpp"

#include <gtest/gtest.h>

#include "platform/fw_cfg_pio.hpp"

namespace bhyve::platform {
namespace {

std::string read_text(FwCfg& cfg, u16 key, usize n) {
  cfg.select(key);
  std::string text;
  while (text.size() < n) text.push_back(static_cast<char>(cfg.next_byte()));
  return text;
}

TEST(FwCfg, SignatureAndIdentificationAreThereFromTheStart) {
  FwCfg cfg;
  EXPECT_EQ(read_text(cfg, FwCfg::key_signature, 4), "QEMU");
  EXPECT_EQ(read_text(cfg, FwCfg::key_id, 4), std::string("\3\0\0\0", 4));
}

TEST(FwCfg, BeyondAnItemAndWithoutOneThereAreZeros) {
  FwCfg cfg;
  cfg.set_number(FwCfg::key_cpus, 3, 2);
  EXPECT_EQ(read_text(cfg, FwCfg::key_cpus, 4), std::string("\3\0\0\0", 4));
  EXPECT_EQ(read_text(cfg, 0x7777, 2), std::string(2, '\0'));
}

TEST(FwCfg, DirectoryListsFilesByNameInBigEndian) {
  FwCfg cfg;
  ASSERT_TRUE(cfg.add_file("opt/z", {1, 2, 3}));
  ASSERT_TRUE(cfg.add_file("etc/a", std::vector<u8>(0x102, 'x')));
  EXPECT_EQ(cfg.add_file("opt/z", {}).error().code, EEXIST);
  EXPECT_EQ(cfg.add_file(std::string(56, 'n'), {}).error().code, EINVAL);
  EXPECT_TRUE(cfg.add_file(std::string(55, 'n'), {}));
  const std::string all = read_text(cfg, FwCfg::key_directory, 4 + 3 * 64);
  EXPECT_EQ(all.substr(0, 4), std::string("\0\0\0\3", 4));
  const std::string first = all.substr(4, 64);
  EXPECT_EQ(first.substr(0, 8), std::string("\0\0\1\2\0\x21\0\0", 8));
  EXPECT_STREQ(first.c_str() + 8, "etc/a");
  const std::string third = all.substr(4 + 128, 64);
  EXPECT_STREQ(third.c_str() + 8, "opt/z");
  EXPECT_EQ(read_text(cfg, 0x20, 4), std::string("\1\2\3\0", 4));
}

struct FwCfgPioTest : testing::Test {
  static constexpr u64 request = 0x1000, buffer = 0x2ffc;
  std::unique_ptr<mem::Vmspace> space = std::move(*mem::Vmspace::create({.lowmem = 1 * MiB}));
  FwCfgPio device{[] {
                    FwCfg cfg;
                    (void)cfg.add_file("opt/text", {'h', 'e', 'l', 'l', 'o', ' ', 'y', 'o', 'u'});
                    return cfg;
                  }(),
                  *space};

  void put_request(u32 control, u32 length, u64 address) {
    std::array<u8, 16> bytes{};
    for (unsigned i = 0; i < 4; ++i) {
      bytes[i] = static_cast<u8>(control >> (24 - 8 * i));
      bytes[4 + i] = static_cast<u8>(length >> (24 - 8 * i));
    }
    for (unsigned i = 0; i < 8; ++i) bytes[8 + i] = static_cast<u8>(address >> (56 - 8 * i));
    ASSERT_TRUE(space->write(Gpa(request), bytes));
  }
  void start(u64 at = request) {
    device.dma().pio_write(0, 4, __builtin_bswap32(static_cast<u32>(at >> 32)));
    device.dma().pio_write(4, 4, __builtin_bswap32(static_cast<u32>(at)));
  }
  std::string memory(u64 at, usize n) {
    std::string text(n, '\0');
    EXPECT_TRUE(space->read(Gpa(at), {reinterpret_cast<u8*>(text.data()), n}));
    return text;
  }
};

TEST_F(FwCfgPioTest, SelectorAndDataPorts) {
  device.registers().pio_write(0, 2, 0x20);
  EXPECT_EQ(device.registers().pio_read(1, 1), u32{'h'});
  EXPECT_EQ(device.registers().pio_read(1, 1), u32{'e'});
  device.registers().pio_write(0, 1, 0);  // not a selector write
  device.registers().pio_write(1, 1, 0);  // data is read-only
  EXPECT_EQ(device.registers().pio_read(1, 1), u32{'l'});
}

TEST_F(FwCfgPioTest, DmaRegisterReadsItsSignature) {
  EXPECT_EQ(device.dma().pio_read(0, 4), 0x554d'4551u);
  EXPECT_EQ(device.dma().pio_read(4, 4), 0x4746'4320u);
}

TEST_F(FwCfgPioTest, DmaSelectsReadsAcrossPagesAndPadsWithZeros) {
  put_request(0x20'000a, 12, buffer);
  start();
  EXPECT_EQ(memory(buffer, 12), std::string("hello you\0\0\0", 12));
  EXPECT_EQ(memory(request, 4), std::string(4, '\0'));
}

TEST_F(FwCfgPioTest, DmaSkipsAndGoesOn) {
  put_request(0x20'000c, 6, 0);
  start();
  put_request(2, 3, buffer);
  start();
  EXPECT_EQ(memory(buffer, 3), "you");
}

TEST_F(FwCfgPioTest, WritingAndBadAddressesAreErrorsAndHarmless) {
  put_request(0x20'0018, 4, buffer);
  start();
  EXPECT_EQ(memory(request, 4), std::string("\0\0\0\1", 4));
  for (const u64 bad : {u64{MiB} - 4, u64{1} << 45, ~u64{0} - 2}) {
    put_request(0x20'000a, 0xffff'ffff, bad);
    start();
    EXPECT_EQ(memory(request, 4), std::string("\0\0\0\1", 4)) << bad;
  }
  start(~u64{0} - 3);  // the request itself is nowhere
  EXPECT_EQ(space->holds_outstanding(), 0u);
}

TEST_F(FwCfgPioTest, PositionSurvivesSaveAndLoad) {
  device.registers().pio_write(0, 2, 0x20);
  (void)device.registers().pio_read(1, 1);
  StateWriter out;
  device.save(out);
  device.reset();
  EXPECT_EQ(device.registers().pio_read(1, 1), u32{'Q'});
  const auto in = StateReader::parse(out.bytes());
  ASSERT_TRUE(in && device.load(*in));
  EXPECT_EQ(device.registers().pio_read(1, 1), u32{'e'});
}

}  // namespace
}  // namespace bhyve::platform
