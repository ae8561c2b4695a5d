#include "test_machine.hpp"

#include <chrono>
#include <random>
#include <stdexcept>

#include <fmt/format.h>

namespace bhyve::test {
namespace {

template <class T>
T or_throw(Result<T> r, const char* what) {
  if (!r) throw std::runtime_error(fmt::format("{}: {}", what, r.error().message));
  return std::move(*r);
}

}  // namespace

using abi::ExitCode;
using engine::StateGroups;
using engine::VcpuState;

TestMachine::TestMachine(const Configuration& configuration, const Options& options)
    : paged_(options.nested == Options::Nested::paged), client_(options.vcpus) {
  mem::Vmspace::Options memory;
  memory.lowmem = options.memory;
  memory.highmem = options.high_memory;
  memory.ept.ad_bits = options.nested != Options::Nested::emulated;
  if (paged_) memory.resident = 128 * KiB;
  space_ = or_throw(mem::Vmspace::create(memory), "memory");
  engine::CpuConfig cpu = options.cpu;
  if (cpu.tsc_hz == 0) cpu.tsc_hz = 1'000'000'000;
  if (cpu.apic_timer_hz == 0) cpu.apic_timer_hz = 25'000'000;
  cpu.sockets = options.vcpus;
  engine_ = or_throw(configuration.make(*space_, cpu, options.vcpus), "engine");
  client_.kick = [this](VcpuId id) {
    if (id < vcpus_.size()) vcpus_[id]->kick();
  };
  client_.change_nested = [this](VcpuId id, u64 gpa, nested::Operation operation) {
    change_nested(id, gpa, operation);
  };
  client_.look_at_nested = [this](VcpuId id) { return look_at_nested(id); };
  for (VcpuId id = 0; id < options.vcpus; ++id)
    vcpus_.push_back(or_throw(engine_->create_vcpu(id, client_), "vcpu"));
  space_->pmap().set_notifier([this] {
    for (auto& vcpu : vcpus_) vcpu->kick();
  });
  space_->set_barrier([this](u64 generation) { return passed(generation); });
}

TestMachine::~TestMachine() {
  space_->stop_pager();
}

bool TestMachine::passed(u64 generation, int but) const {
  for (usize id = 0; id < vcpus_.size(); ++id)
    if (static_cast<int>(id) != but && running_[id].load() &&
        vcpus_[id]->generation_seen() < generation)
      return false;
  return true;
}

void TestMachine::change_nested(VcpuId id, u64 gpa, nested::Operation operation) {
  looked_at_[id] = gpa;
  pmap::Pmap& pmap = space_->pmap();
  const auto forget = [](u64, u64) {};
  switch (operation) {
    case nested::look: break;
    case nested::remove: pmap.remove(gpa, page_size); break;
    case nested::write_protect: pmap.write_protect(gpa, page_size); break;
    case nested::clear_accessed: pmap.clear_accessed(gpa, page_size, forget); break;
    case nested::clear_dirty: pmap.clear_modified(gpa, page_size); break;
    case nested::promote: (void)pmap.promote(gpa); break;
    case nested::invalidate: pmap.invalidate_ept(); break;
  }
}

u32 TestMachine::look_at_nested(VcpuId id) const {
  const pmap::Pmap& pmap = space_->pmap();
  u32 flags = passed(pmap.generation(), static_cast<int>(id)) ? u32{nested::passed} : 0;
  if (!pmap.ad_bits()) flags |= nested::emulated;
  if (paged_) flags |= nested::pestered;
  const pmap::Lookup l = pmap.lookup(looked_at_[id]);
  if (!l.present) return flags;
  const u64 leaf = l.entries[l.count - 1];
  flags |= nested::mapped;
  if (leaf & pmap.rw_bit()) flags |= nested::writable;
  if (leaf & pmap.accessed_bit()) flags |= nested::accessed;
  if (leaf & pmap.modified_bit()) flags |= nested::dirty;
  if (l.count < 4) flags |= nested::large;
  return flags;
}

bool TestMachine::resolve(const engine::Exit::Paging& fault) {
  return fault.waits && space_->wait_for_room() &&
         space_->resolve(fault.gpa, fault.access) != mem::FaultResult::error;
}

/// What others do to a guest's memory while it runs.
void TestMachine::pester() {
  std::mt19937_64 random(4);
  const u64 pages = space_->lowmem() >> page_shift;
  std::vector<u64> bits(8);
  while (!client_.ended()) {
    // Guest programs are small and low.
    const u64 page = random() % (random() % 2 ? pages : 600), count = 1 + random() % 16;
    switch (random() % 4) {
      case 0: space_->pmap().remove(page << page_shift, count << page_shift); break;
      case 1: space_->pmap().write_protect(page << page_shift, count << page_shift); break;
      case 2: (void)space_->take_dirty(Gpa(page << page_shift), bits); break;
      default: (void)space_->pmap().promote(page << page_shift); break;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void TestMachine::write(u64 gpa, std::span<const u8> bytes) {
  if (!space_->write(Gpa(gpa), bytes))
    throw std::runtime_error(fmt::format("no RAM at {:#x} + {:#x}", gpa, bytes.size()));
}

void TestMachine::read(u64 gpa, std::span<u8> bytes) {
  if (!space_->read(Gpa(gpa), bytes))
    throw std::runtime_error(fmt::format("no RAM at {:#x} + {:#x}", gpa, bytes.size()));
}

void TestMachine::start_up(VcpuId id, int page) {
  auto state = std::make_unique<VcpuState>();
  state->reset(false);
  x86::Segment& cs = state->seg[static_cast<usize>(x86::Seg::cs)];
  cs.selector = static_cast<u16>(page << 8);
  cs.base = static_cast<u64>(page) << page_shift;
  state->rip = 0;
  vcpus_[id]->load(StateGroups::all, *state);
}

void TestMachine::set_capability(VcpuId id, engine::Exit::Inout& io) {
  if (io.in) {
    io.eax = capability_exits_[id];
    return;
  }
  const auto which = static_cast<abi::Capability>(io.eax & 0xff);
  if (!vcpus_[id]->set_capability(which, (io.eax & 0x100) != 0))
    client_.end({Outcome::Kind::error, 0, fmt::format("no capability {}", io.eax & 0xff)});
}

/// As a debugger whose breakpoint it is.
void TestMachine::pass_breakpoint(VcpuId id, const engine::Exit& exit) {
  auto state = std::make_unique<VcpuState>();
  vcpus_[id]->store(StateGroups::gprs, *state);
  state->rip = exit.rip + exit.inst_length;
  vcpus_[id]->load(StateGroups::gprs, *state);
}

bool TestMachine::handle(VcpuId id, engine::Exit& exit) {
  switch (exit.code) {
    case ExitCode::bogus:
      return true;
    case ExitCode::hlt:
      client_.wait(id, false);
      return true;
    case ExitCode::bpt:
      pass_breakpoint(id, exit);
      [[fallthrough]];
    case ExitCode::pause:
    case ExitCode::mtrap:
    case ExitCode::db:
      ++capability_exits_[id];
      return true;
    case ExitCode::suspended:
      client_.end({Outcome::Kind::triple_fault, 0, fmt::format("at rip {:#x}", exit.rip)});
      return false;
    case ExitCode::paging:
      if (resolve(exit.paging)) return true;
      [[fallthrough]];
    default:
      if (exit.code == ExitCode::inout && exit.inout.port == port::capability) {
        set_capability(id, exit.inout);
        return true;
      }
      if (client_.answer(exit)) return true;
      client_.end({Outcome::Kind::error, 0,
                   fmt::format("vCPU {}: exit code {} at rip {:#x}", id,
                               static_cast<u32>(exit.code), exit.rip)});
      return false;
  }
}

void TestMachine::vcpu_thread(VcpuId id) {
  if (id != 0) client_.wait(id, true);
  engine::Exit exit;
  while (!client_.ended()) {
    if (const int page = client_.take_startup(id); page >= 0) {
      start_up(id, page);
      exit = {};
    }
    running_[id].store(true);
    vcpus_[id]->run(exit);
    running_[id].store(false);
    if (!handle(id, exit)) return;
  }
}

Outcome TestMachine::run(unsigned seconds) {
  std::vector<std::thread> threads;
  for (VcpuId id = 0; id < vcpus_.size(); ++id)
    threads.emplace_back([this, id] { vcpu_thread(id); });
  std::thread pest;
  if (paged_) pest = std::thread([this] { pester(); });
  Outcome outcome = client_.wait_for_end(seconds);
  for (std::thread& t : threads) t.join();
  if (pest.joinable()) pest.join();
  return outcome;
}

}  // namespace bhyve::test
