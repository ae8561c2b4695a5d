#pragma once
#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/soft/soft_engine.hpp"
#include "mem/vmspace.hpp"

/// One small machine an executor: the same code from the same state, run to its end.
namespace bhyve::fuzz {

enum class Mode : u8 {
  kernel64,
  user64,
  compat32,
  compat16,
  flat32,
  protected16,
  real,
  v86,
  count
};
[[nodiscard]] constexpr bool is_64(Mode m) {
  return m == Mode::kernel64 || m == Mode::user64;
}

/// Where things lie; linear addresses are physical ones. Between 18000h and 20000h some pages are
/// missing, read-only, the supervisor's or devices where there is paging (executor_machine.cpp).
namespace at {
inline constexpr u64 memory = 0x11'0000, code = 0x1'0000, data = 0x1'4000, data_end = 0x1'8000,
                     odd_pages = 0x1'8000, handlers = 0x8000, user_stack = 0x2'1000,
                     kernel_stack = 0x2'3000, page_tables = 0x9000, page_tables_end = 0xc000;
inline constexpr u64 code_size = 0x2000;
}  // namespace at

/// What devices answer: a function of the access. All accesses are summed up.
class Devices final : public engine::Client {
 public:
  Access mmio(VcpuId, Gpa gpa, unsigned size, u64& value, Dir dir) override;
  Access pio(VcpuId, u16 port, unsigned size, u32& value, Dir dir) override;
  Access msr(VcpuId, u32 number, u64& value, Dir dir) override;
  u8 cr8(VcpuId) override { return cr8_; }
  void set_cr8(VcpuId, u8 value) override { cr8_ = value; }
  Pending pending(VcpuId) override { return {false, false, ++asked_ > patience_}; }
  void accept_nmi(VcpuId) override {}
  int accept_interrupt(VcpuId) override { return -1; }
  bool x2apic_enabled(VcpuId) override { return false; }
  bool apic_enabled(VcpuId) override { return true; }
  void ferr(VcpuId) override { note(0xfe); }

  void reset() { seen_ = 0, cr8_ = 0, asked_ = 0; }
  void note(u64 v) { seen_ = (seen_ ^ v) * 0x9e37'79b9'7f4a'7c15 + (seen_ >> 29); }
  [[nodiscard]] u64 seen() const { return seen_; }
  void allow(u64 times) { asked_ = 0, patience_ = times; }

 private:
  u64 patience_ = 0, asked_ = 0, seen_ = 0;
  u8 cr8_ = 0;
};

/// How a run ended. One that did not come to an end within its bounds cannot be compared.
struct Ending final {
  enum class Kind : u8 {
    halted,
    triple_fault,
    unbounded,
    unpredictable,
    strange
  } kind = Kind::unbounded;
  u64 faults = 0;
  u64 steps = 0;
};

enum class Executor : u8 { steps, blocks, translated, count };

class Machine final {
 public:
  explicit Machine(Executor executor);
  /// From `state`, with `code` at at::code. Memory is as build_memory() made it before.
  Ending run(const engine::VcpuState& state, std::span<const u8> code, u64 max_steps);

  [[nodiscard]] std::span<const u8> memory() const { return memory_; }
  [[nodiscard]] const engine::VcpuState& after() const { return *after_; }
  [[nodiscard]] const Devices& devices() const { return devices_; }
  [[nodiscard]] u64 counter(std::string_view text) const;

 private:
  void restore(std::span<const u8> code);
  [[nodiscard]] bool answer(engine::Exit& exit);
  [[nodiscard]] bool unpredictable() const;

  Executor executor_;
  Devices devices_;
  std::unique_ptr<mem::Vmspace> space_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<engine::EngineVcpu> vcpu_;
  std::unique_ptr<engine::VcpuState> after_;
  mem::Hold hold_;
  std::span<const u8> memory_;
  std::vector<u8> pristine_;
};

/// The state that the code begins in; `random` fills registers.
[[nodiscard]] engine::VcpuState first_state(Mode mode, u64 seed);

}  // namespace bhyve::fuzz
