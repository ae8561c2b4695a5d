#include "test_client.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace bhyve::test {
namespace {

constexpr u32 msr_apic_base = 0x1b;
constexpr usize output_limit = 64 * KiB;

}  // namespace

using Access = engine::Client::Access;
using abi::ExitCode;

TestClient::TestClient(u32 vcpus) : cpus_(vcpus) {}

void TestClient::access_memory(u64 offset, unsigned size, u64& value, Dir dir) {
  std::lock_guard guard(lock_);
  if (offset + size > memory_.size()) return;
  if (dir == Dir::write) {
    std::memcpy(memory_.data() + offset, &value, size);
    return;
  }
  value = 0;
  std::memcpy(&value, memory_.data() + offset, size);
}

Access TestClient::mmio(VcpuId, Gpa gpa, unsigned size, u64& value, Dir dir) {
  if (gpa.page().value() == mmio_exit) return Access::exit;
  if (gpa.page().value() == mmio_done)
    access_memory(gpa.page_offset(), size, value, dir);
  else if (dir == Dir::read)
    value = ~u64{0};  // nobody answers on the bus
  return Access::done;
}

bool TestClient::access_latch(u16 port, unsigned size, u32& value, Dir dir) {
  const unsigned at = port - port::latch_done;
  if (port < port::latch_done || at + size > latches_.size()) return false;
  std::lock_guard guard(lock_);
  if (dir == Dir::write) {
    std::memcpy(latches_.data() + at, &value, size);
  } else {
    value = 0;
    std::memcpy(&value, latches_.data() + at, size);
  }
  return true;
}

Access TestClient::pio(VcpuId vcpu, u16 port, unsigned size, u32& value, Dir dir) {
  if (port == port::capability || (port >= port::latch_exit && port < port::latch_exit + 16))
    return Access::exit;
  if (access_latch(port, size, value, dir)) return Access::done;
  if (dir == Dir::read) {
    value = port == port::self     ? vcpu
            : port == port::vcpus  ? static_cast<u32>(cpus_.size())
            : port == port::nested ? look_at_nested(vcpu)
                                   : ~u32{0};
    return Access::done;
  }
  if (port == port::print) {
    std::lock_guard guard(lock_);
    if (output_.size() < output_limit) output_.push_back(static_cast<char>(value));
  } else if (port == port::event) {
    post(value);
  } else if (port == port::nested) {
    change_nested(vcpu, u64{value >> 4} << page_shift, static_cast<nested::Operation>(value & 15));
  } else if (port == port::end) {
    end({Outcome::Kind::ended, static_cast<u8>(value), {}});
  }
  return Access::done;
}

Access TestClient::msr(VcpuId vcpu, u32 number, u64& value, Dir dir) {
  if (number != msr_apic_base || dir == Dir::write) return Access::fault;
  value = 0xfee0'0800 | (vcpu == 0 ? 0x100 : 0);
  return Access::done;
}

u8 TestClient::cr8(VcpuId vcpu) {
  std::lock_guard guard(lock_);
  return cpus_[vcpu].cr8;
}

void TestClient::set_cr8(VcpuId vcpu, u8 value) {
  {
    std::lock_guard guard(lock_);
    cpus_[vcpu].cr8 = value;
  }
  kick(vcpu);
}

bool TestClient::deliverable(const Cpu& cpu) const {
  return !cpu.vectors.empty() && cpu.vectors.front() >> 4 > cpu.cr8;
}

engine::Client::Pending TestClient::pending(VcpuId vcpu) {
  std::lock_guard guard(lock_);
  const Cpu& cpu = cpus_[vcpu];
  return {.nmi = cpu.nmi,
          .interrupt = deliverable(cpu),
          .leave = ended_.load() || cpu.startup >= 0};
}

void TestClient::accept_nmi(VcpuId vcpu) {
  std::lock_guard guard(lock_);
  cpus_[vcpu].nmi = false;
}

int TestClient::accept_interrupt(VcpuId vcpu) {
  std::lock_guard guard(lock_);
  Cpu& cpu = cpus_[vcpu];
  if (!deliverable(cpu)) return -1;
  const u8 vector = cpu.vectors.front();
  cpu.vectors.pop_front();
  return vector;
}

void TestClient::ferr(VcpuId) { ferr_pulses_.fetch_add(1); }

bool TestClient::answer(engine::Exit& exit) {
  switch (exit.code) {
    case ExitCode::inout:
      if (!access_latch(exit.inout.port, exit.inout.bytes, exit.inout.eax,
                        exit.inout.in ? Dir::read : Dir::write) &&
          exit.inout.in)
        exit.inout.eax = ~u32{0};
      return true;
    case ExitCode::inst_emul:
      access_memory(exit.mmio.gpa.value() - mmio_done, exit.mmio.size, exit.mmio.data,
                    exit.mmio.write ? Dir::write : Dir::read);
      return true;
    case ExitCode::rdmsr:
    case ExitCode::wrmsr:
      exit.msr.fault = true;
      return true;
    default:
      return false;
  }
}

void TestClient::post(u32 request) {
  const VcpuId vcpu = request >> 8 & 0xff;
  const u8 vector = static_cast<u8>(request);
  if (vcpu >= cpus_.size()) return;
  if (request & event::startup) {
    {
      std::lock_guard guard(lock_);
      cpus_[vcpu].startup = vector;
    }
    changed_.notify_all();
    kick(vcpu);
  } else if (request & event::nmi) {
    inject_nmi(vcpu);
  } else if (request & event::late) {
    std::lock_guard guard(lock_);
    cpus_[vcpu].late.push_back(vector);
  } else {
    inject(vcpu, vector);
  }
}

void TestClient::before_clock(VcpuId vcpu) {
  {
    std::lock_guard guard(lock_);
    Cpu& cpu = cpus_[vcpu];
    if (cpu.late.empty()) return;
    cpu.vectors.insert(cpu.vectors.end(), cpu.late.begin(), cpu.late.end());
    cpu.late.clear();
  }
  kick(vcpu);
}

void TestClient::inject(VcpuId vcpu, u8 vector) {
  {
    std::lock_guard guard(lock_);
    cpus_[vcpu].vectors.push_back(vector);
  }
  changed_.notify_all();
  kick(vcpu);
}

void TestClient::inject_nmi(VcpuId vcpu) {
  {
    std::lock_guard guard(lock_);
    cpus_[vcpu].nmi = true;
  }
  changed_.notify_all();
  kick(vcpu);
}

void TestClient::end(Outcome outcome) {
  {
    std::lock_guard guard(lock_);
    if (ended_.exchange(true)) return;
    outcome_ = std::move(outcome);
  }
  changed_.notify_all();
  for (VcpuId v = 0; v < cpus_.size(); ++v) kick(v);
}

void TestClient::wait(VcpuId vcpu, bool for_startup) {
  std::unique_lock guard(lock_);
  changed_.wait(guard, [&] {
    const Cpu& cpu = cpus_[vcpu];
    return ended_.load() || cpu.startup >= 0 || (!for_startup && (cpu.nmi || deliverable(cpu)));
  });
}

int TestClient::take_startup(VcpuId vcpu) {
  std::lock_guard guard(lock_);
  return std::exchange(cpus_[vcpu].startup, -1);
}

Outcome TestClient::wait_for_end(unsigned seconds) {
  std::unique_lock guard(lock_);
  if (!changed_.wait_for(guard, std::chrono::seconds(seconds), [&] { return ended_.load(); })) {
    guard.unlock();
    end({Outcome::Kind::timeout, 0, fmt::format("no end within {} s", seconds)});
    guard.lock();
  }
  return outcome_;
}

std::string TestClient::output() const {
  std::lock_guard guard(lock_);
  return output_;
}

}  // namespace bhyve::test
