#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "base/types.hpp"
#include "engine/soft/direct/user_nursery.hpp"
#include "engine/soft/replay/stub_arena.hpp"
#include "engine/soft/runtime/bus_lock.hpp"
#include "engine/soft/runtime/turns.hpp"
#include "engine/soft/system/cpu_model.hpp"
#include "engine/soft/runtime/execution_trace.hpp"
#include "engine/soft/translate/code_pool.hpp"
#include "engine/soft/translate/perf_map.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::soft {

class Cpu;

/// What the software CPUs of one VM share.
///
/// The code epoch: a page that is watched for the first time (mem::CodePages) may still be the
/// target of store-TLB entries of other vCPUs, and code decoded from it cannot be trusted before
/// they are gone. Watching starts a new epoch and kicks the other vCPUs; each drops its write tags
/// when it next looks up and publishes the epoch it has seen. Until all have, blocks of the page
/// compare their bytes on every entry (BlockCache). Nobody ever waits.
class SoftVm final : public mem::CodePages::Observer {
 public:
  /// How hot code is executed. No cache: the interpreter does all.
  struct Translation {
    usize cache_bytes = 0;  ///< of translated code that all vCPUs may have
    u32 after = 24;         ///< executions that make a block hot
    bool mask = false;      ///< checks in translated code hold for speculative execution, too
    bool check = false;     ///< translated blocks are interpreted first and compared (ExecutorCheck)
  };
  /// With the interpreter alone.
  SoftVm(mem::Vmspace& guest_space, std::unique_ptr<CpuModel> cpu_model, u32 vcpus)
      : SoftVm(guest_space, std::move(cpu_model), vcpus, Translation{}) {}
  SoftVm(mem::Vmspace& guest_space, std::unique_ptr<CpuModel> cpu_model, u32 vcpus,
         const Translation& how, usize stub_bytes = StubArena::default_bytes)
      : space(guest_space), model(std::move(cpu_model)), translation(how), stubs(stub_bytes),
        cpus_(vcpus) {
    if (how.cache_bytes) code_pool.emplace(how.cache_bytes, vcpus);
    if (how.cache_bytes) space.code_pages().observe(this);
  }
  ~SoftVm() override { space.code_pages().observe(nullptr); }
  SoftVm(const SoftVm&) = delete;
  SoftVm& operator=(const SoftVm&) = delete;

  mem::Vmspace& space;
  const std::unique_ptr<CpuModel> model;
  const Translation translation;
  std::unique_ptr<UserNursery> nursery;  ///< none: no user code runs directly; set before the first vCPU
  bool always_direct = false;            ///< DirectExecutor::Options; the same
  std::unique_ptr<PerfMap> perf_map;  ///< or none; set before the first vCPU
  std::unique_ptr<ExecutionTrace> trace;  ///< the same
  std::optional<CodePool> code_pool;  ///< none: nothing is translated
  StubArena stubs;  ///< locks itself; shared by the vCPUs
  Turns turns;      ///< while `check`: of the vCPUs
  BusLock bus{*this};  ///< for locked accesses that cross a cache line

  /// Bytes of memory that each vCPU may spend on blocks (BlockCache).
  [[nodiscard]] usize block_limit() const { return blocks_bytes / cpus_.size() + blocks_bytes_each; }

  /// Tells every vCPU.
  void code_written(u64 page) noexcept override;

  void add(VcpuId id, Cpu& cpu) { cpus_[id].store(&cpu, std::memory_order_release); }
  void remove(VcpuId id) { cpus_[id].store(nullptr, std::memory_order_release); }

  /// Whether a vCPU but `self` executes instructions. Called with the lock of BusLock.
  [[nodiscard]] bool others_run(const Cpu& self) const;
  /// Has every vCPU but `self` look up.
  void kick_others(const Cpu& self);

  [[nodiscard]] u64 code_epoch() const { return code_epoch_.load(std::memory_order_seq_cst); }
  /// An epoch of which the lower half is known: it lies not after the current one. (If it is older than the
  /// half tells, the one returned is later: no harm.)
  [[nodiscard]] u64 whole_epoch(u32 low) const {
    const u64 now = code_epoch();
    return now - static_cast<u32>(static_cast<u32>(now) - low);
  }
  /// Bracket the watching of a page: a watch that another vCPU has set counts only once its epoch
  /// has begun, and while others_watch() that may not have happened yet.
  void begin_watch() { watching_.fetch_add(1, std::memory_order_seq_cst); }
  void end_watch() { watching_.fetch_sub(1, std::memory_order_seq_cst); }
  [[nodiscard]] bool others_watch() const {
    return watching_.load(std::memory_order_seq_cst) > 1;
  }
  /// Starts a new epoch on behalf of `self`; the others are kicked.
  u64 new_code_epoch(const Cpu& self);
  /// True when every vCPU but `self` has dropped its old write tags since `epoch`.
  [[nodiscard]] bool code_epoch_passed(u64 epoch, const Cpu& self) const;

  /// Generation `full` of the stubs has no room: begins the next, unless a vCPU may still hold plans
  /// of the one before `full`; then it is kicked. `self` has dropped its own. The caller asks again,
  /// it never waits here.
  void renew_stubs(u64 full, const Cpu& self);

 private:
  static constexpr usize blocks_bytes = 16 * MiB, blocks_bytes_each = 2 * MiB;
  std::vector<std::atomic<Cpu*>> cpus_;  ///< set once per vCPU before it runs
  std::atomic<u64> code_epoch_{0};
  std::atomic<u32> watching_{0};  ///< vCPUs between begin_watch() and end_watch()
};

}  // namespace bhyve::soft
