#pragma once
#include "../vmm/fake_engine.hpp"
#include "machine/board.hpp"

namespace bhyve::machine::test {

/// A board around fake CPUs; the test is the guest and uses ports and memory as a vCPU would.
class BoardTest : public vmm::test::VmTest {
 protected:
  void make_board() {
    config.lowmem = 2 * MiB;
    make(1);
    machine.lowmem = machine.memory = 2 * MiB;
    machine.pci.push_back({0, 0, 0, "hostbridge", "pci.0.0.0"});
    machine.pci.push_back({0, 31, 0, "lpc", "pci.0.31.0"});
    auto made = Board::create(*vm, loop, machine);
    ASSERT_TRUE(made) << made.error().message;
    board = std::move(*made);
  }
  void out(u16 port, unsigned size, u32 value) {
    if (!vm->chips().pio(port, size, value, Dir::write)) board->ports().write(port, size, value);
  }
  u32 in(u16 port, unsigned size) {
    u32 value = 0;
    if (!vm->chips().pio(port, size, value, Dir::read)) board->ports().read(port, size, value);
    return value;
  }
  void store(u64 gpa, unsigned size, u64 value) {
    if (!vm->chips().mmio(0, Gpa(gpa), size, value, Dir::write))
      board->memory().write(Gpa(gpa), size, 0, value);
  }
  u64 fetch(u64 gpa, unsigned size) {
    u64 value = 0;
    if (!vm->chips().mmio(0, Gpa(gpa), size, value, Dir::read))
      board->memory().read(Gpa(gpa), size, 0, value);
    return value;
  }
  u8 cmos(u8 index) {
    out(0x70, 1, index);
    return static_cast<u8>(in(0x71, 1));
  }
  u32 config_read(unsigned slot, unsigned offset, unsigned size = 4) {
    out(0xcf8, 4, 0x8000'0000 | slot << 11 | (offset & 0xfc));
    return in(static_cast<u16>(0xcfc + (offset & 3)), size);
  }
  void config_write(unsigned slot, unsigned offset, unsigned size, u32 value) {
    out(0xcf8, 4, 0x8000'0000 | slot << 11 | (offset & 0xfc));
    out(static_cast<u16>(0xcfc + (offset & 3)), size, value);
  }

  host::EventLoop loop{"test"};
  MachineConfig machine;
  std::unique_ptr<Board> board;
};

}  // namespace bhyve::machine::test
