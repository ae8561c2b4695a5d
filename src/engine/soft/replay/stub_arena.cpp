#include "engine/soft/replay/stub_arena.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "engine/soft/replay/host_traps.hpp"
#include "engine/soft/replay/replay_plan.hpp"

namespace bhyve::soft {

namespace {

constexpr usize arena_size = StubArena::default_bytes;
constexpr unsigned arena_limit = 64;

/// Executable ranges of all arenas of the process, for the signal handler.
std::array<std::atomic<u64>, arena_limit> arena_bases{};

void note_base(u64 base) {
  for (auto& slot : arena_bases) {
    u64 free = 0;
    if (slot.compare_exchange_strong(free, base)) return;
  }
}
void forget_base(u64 base) {
  for (auto& slot : arena_bases) {
    u64 mine = base;
    if (slot.compare_exchange_strong(mine, 0)) return;
  }
}

}  // namespace

struct StubArena::Impl {
  using Plans = std::unordered_map<std::string, std::unique_ptr<ReplayPlan>>;

  UniqueFd fd;
  u8* writable = nullptr;  ///< this, executable and half: set once
  const u8* executable = nullptr;
  usize half = 0;
  std::atomic<u64> generation{0};  ///< changes under the lock

  std::mutex lock;  ///< guards all below
  usize used = 0;   ///< of the current generation's half
  std::array<Plans, 2> plans;  ///< by generation, the low bit
};

StubArena::StubArena(usize bytes) : impl_(std::make_unique<Impl>()) {
  impl_->half = (bytes < arena_size ? bytes : arena_size) / 2;
  install_host_traps();
  impl_->fd.reset(::memfd_create("bhyve-stubs", MFD_CLOEXEC));
  if (!impl_->fd || ::ftruncate(impl_->fd.get(), arena_size) != 0) return;
  void* w = ::mmap(nullptr, arena_size, PROT_READ | PROT_WRITE, MAP_SHARED, impl_->fd.get(), 0);
  void* x = ::mmap(nullptr, arena_size, PROT_READ | PROT_EXEC, MAP_SHARED, impl_->fd.get(), 0);
  if (w == MAP_FAILED || x == MAP_FAILED) {
    log_error("no executable memory for replayed instructions: {}", std::strerror(errno));
    return;
  }
  impl_->writable = static_cast<u8*>(w);
  impl_->executable = static_cast<const u8*>(x);
  note_base(reinterpret_cast<u64>(x));
}

StubArena::~StubArena() {
  if (!impl_->executable) return;
  forget_base(reinterpret_cast<u64>(impl_->executable));
  ::munmap(impl_->writable, arena_size);
  ::munmap(const_cast<u8*>(impl_->executable), arena_size);
}

bool StubArena::contains(u64 pc) {
  for (const auto& slot : arena_bases) {
    const u64 base = slot.load(std::memory_order_relaxed);
    if (base && pc - base < arena_size) return true;
  }
  return false;
}

const ReplayPlan* StubArena::publish(const ReplayPlan& wanted, std::span<const u8> code) {
  ReplayPlan plan = wanted;
  plan.stub = nullptr;
  std::string key(reinterpret_cast<const char*>(code.data()), code.size());
  for (const u64 field :
       {u64{plan.memory_bytes}, static_cast<u64>(plan.use), static_cast<u64>(plan.gate),
        u64{plan.simd}, u64{plan.x87_pointers}, u64{plan.x87_waits}, u64{plan.alignment},
        u64{plan.fop}, static_cast<u64>(plan.masking),
        u64{plan.mask_register}, u64{plan.element_bytes}, u64{plan.vector_bytes}}) {
    key.push_back(static_cast<char>(field));
    key.push_back(static_cast<char>(field >> 8));
  }
  const std::lock_guard guard(impl_->lock);
  const u64 turn = impl_->generation.load(std::memory_order_relaxed) & 1;
  Impl::Plans& plans = impl_->plans[turn];
  if (const auto it = plans.find(key); it != plans.end()) return it->second.get();
  const usize need = (code.size() + 15) & ~usize{15};
  if (!impl_->executable || impl_->used + need > impl_->half) return nullptr;
  const usize at = turn * impl_->half + impl_->used;
  std::memcpy(impl_->writable + at, code.data(), code.size());
  impl_->used += need;
  plan.stub = reinterpret_cast<ReplayPlan::Stub>(reinterpret_cast<u64>(impl_->executable + at));
  auto owned = std::make_unique<ReplayPlan>(plan);
  return plans.emplace(std::move(key), std::move(owned)).first->second.get();
}

u64 StubArena::generation() const noexcept {
  return impl_->generation.load(std::memory_order_seq_cst);
}

bool StubArena::usable() const noexcept { return impl_->executable != nullptr; }

void StubArena::begin_next(u64 current) {
  const std::lock_guard guard(impl_->lock);
  if (generation() != current) return;
  impl_->plans[(current + 1) & 1].clear();
  impl_->used = 0;
  impl_->generation.store(current + 1, std::memory_order_seq_cst);
}

}  // namespace bhyve::soft
