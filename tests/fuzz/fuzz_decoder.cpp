// Our decoder against Zydis on random bytes, in the three code sizes. The forms that earlier inputs
// left behind stay: that they hold for other bytes is what is tested.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/client.hpp"
#include "fuzz/fuzz.hpp"
#include "unit/engine/decode_fixture.hpp"

namespace {

using namespace bhyve;
using namespace bhyve::soft;

class NoMachine final : public engine::Client {
 public:
  Access mmio(VcpuId, Gpa, unsigned, u64&, Dir) override { return Access::fault; }
  Access pio(VcpuId, u16, unsigned, u32&, Dir) override { return Access::fault; }
  Access msr(VcpuId, u32, u64&, Dir) override { return Access::fault; }
  u8 cr8(VcpuId) override { return 0; }
  void set_cr8(VcpuId, u8) override {}
  Pending pending(VcpuId) override { return {}; }
  void accept_nmi(VcpuId) override {}
  int accept_interrupt(VcpuId) override { return -1; }
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId) override {}
};

/// A CPU of one code size. The arena of its stubs is bounded: it is made anew before it is full.
class Side final {
 public:
  explicit Side(CodeSize size) : size_(size) {}
  Cpu& cpu() {
    if (!cpu_ || ++used_ > 20'000) renew();
    return *cpu_;
  }

 private:
  void renew() {
    used_ = 0;
    cpu_.reset();
    vm_.reset();
    space_ = std::move(mem::Vmspace::create({4 * MiB, 0}).value());
    vm_ = std::make_unique<SoftVm>(*space_, std::move(CpuModel::create({}, 1).value()), 1);
    cpu_ = std::make_unique<Cpu>(0, *vm_, client_);
    engine::VcpuState s;
    s.reset(false);
    using x86::Segment;
    const u32 kind = size_ == CodeSize::bits64   ? Segment::long_mode
                     : size_ == CodeSize::bits32 ? Segment::big
                                                 : 0;
    s.seg[static_cast<u8>(x86::Seg::cs)] = {0x08, 11u | Segment::s | Segment::present | kind,
                                            0xffff'ffff, 0};
    s.cr0 = x86::cr0::pe | x86::cr0::pg | x86::cr0::et;
    s.cr4 = x86::cr4::pae;
    s.efer = x86::efer::lme | x86::efer::lma;
    cpu_->load_state(engine::StateGroups::all, s);
    if (cpu_->code_size() != size_) std::abort();
  }
  CodeSize size_;
  NoMachine client_;
  std::unique_ptr<mem::Vmspace> space_;
  std::unique_ptr<SoftVm> vm_;
  std::unique_ptr<Cpu> cpu_;
  unsigned used_ = 0;
};

[[noreturn]] void report(unsigned size, const u8* bytes, unsigned n) {
  std::fprintf(stderr, "%u-bit code:", 16u << size);
  for (unsigned i = 0; i < n; ++i) std::fprintf(stderr, " %02x", bytes[i]);
  std::fputc('\n', stderr);
  std::abort();
}

}  // namespace

std::vector<std::vector<u8>> fuzz_seeds() {
  const std::vector<std::vector<u8>> bodies = {
      {0x48, 0x8b, 0x84, 0xb5, 1, 2, 3, 4, 0x66, 0x81, 0x45, 8, 1, 2, 0x0f, 0xba, 0x64, 0x24, 8, 7},
      {0xf3, 0x0f, 0x10, 0x05, 1, 2, 3, 4, 0x66, 0x0f, 0x3a, 0x0f, 0xc1, 4, 0xdd, 0x44, 0x24, 8},
      {0xc5, 0xf9, 0x6f, 0x45, 8, 0xc4, 0xe2, 0x7d, 0x18, 0x04, 0x24, 0xc4, 0xe2, 0xf9, 0x92, 0x0c, 0x9e},
      {0x62, 0xf1, 0x7c, 0x49, 0x10, 0x43, 4, 0x62, 0xf2, 0x7d, 0x48, 0x92, 0x44, 0x8b, 2},
      {0xf0, 0x0f, 0xb1, 0x0b, 0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0xe8, 1, 2, 3, 4},
      {0xf3, 0x48, 0xa5, 0x67, 0x66, 0xab, 0x9a, 1, 2, 3, 4, 5, 6, 0xc8, 1, 2, 3, 0xa1, 1, 2, 3, 4}};
  std::vector<std::vector<u8>> seeds;
  for (u8 size = 0; size < 3; ++size)
    for (const auto& body : bodies) {
      seeds.push_back({size});
      seeds.back().insert(seeds.back().end(), body.begin(), body.end());
    }
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const u8* data, usize size) {
  static Side sides[3] = {Side(CodeSize::bits16), Side(CodeSize::bits32), Side(CodeSize::bits64)};
  if (size < 2 || size > 256) return 0;
  Side& side = sides[data[0] % 3];
  for (usize at = 1; at < size;) {
    const unsigned left = static_cast<unsigned>(size - at);
    const BothDecoded b =
        decode_both(side.cpu(), data + at, left < 15 ? left : 15, static_cast<u16>(at));
    if (!same(b)) report(data[0] % 3, data + at, left < 15 ? left : 15);
    at += b.ours.length ? b.ours.length : 1;
  }
  return 0;
}
