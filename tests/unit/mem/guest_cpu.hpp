#pragma once
#include <atomic>

#include <gtest/gtest.h>

#include "mem/ram_access.hpp"
#include "mem/vmspace.hpp"
#include "pmap/pmap_ept.hpp"

namespace bhyve::mem {

/// A virtual CPU as far as memory knows it: walks the raw EPT entries, sets accessed and dirty flags
/// where the pmap's hardware does, keeps translations until it sees a new generation.
class GuestCpu final {
 public:
  explicit GuestCpu(Vmspace& space) : space_(space) {}

  /// No longer uses translations from before `generation`.
  [[nodiscard]] bool passed(u64 generation) const {
    return !running_.load() || seen_.load() >= generation;
  }
  /// The guest's 8-byte access; false: no memory there, or it failed.
  bool load(u64 gpa, u64& value) {
    return access(gpa, false, [&](std::byte* host) { value = ram_load<u64>(host); });
  }
  bool store(u64 gpa, u64 value) {
    return access(gpa, true, [&](std::byte* host) { ram_store<u64>(host, value); });
  }
  u64 faults = 0, waits = 0;

 private:
  using E = pmap::Ept;

  template <class Op>
  bool access(u64 gpa, bool write, const Op& op) {
    for (;;) {
      running_.store(true);
      seen_.store(space_.pmap().generation());
      if (std::byte* host = walk(gpa, write)) {
        op(host);
        running_.store(false);
        return true;
      }
      const Prot access = write ? Prot::write : Prot::read;
      ++faults;
      FaultResult result = space_.fault(Gpa(gpa), access);
      running_.store(false);
      if (result == FaultResult::wait) {
        ++waits;
        if (!space_.wait_for_room()) return false;
        result = space_.resolve(Gpa(gpa), access);
      }
      if (result != FaultResult::resolved) return false;
    }
  }

  std::byte* walk(u64 gpa, bool write) {
    const u64 need = write ? u64{E::read | E::write} : u64{E::read};
    const bool ad = space_.pmap().ad_bits();
    ArenaAddr table = space_.pmap().root();
    for (unsigned level = pmap::top_level;; --level) {
      auto* slot = reinterpret_cast<std::atomic<u64>*>(space_.arena().host(table)) +
                   (gpa >> pmap::level_shift(level)) % 512;
      u64 e = slot->load();
      if ((e & need) != need) return nullptr;
      if (!E::is_leaf(e, level)) {
        table = E::frame(e);
        continue;
      }
      const u64 marks = ad ? E::hw_accessed | (write ? u64{E::hw_dirty} : 0) : 0;
      if ((e & marks) != marks && !slot->compare_exchange_strong(e, e | marks)) {
        table = space_.pmap().root();
        level = pmap::top_level + 1;
        continue;
      }
      return space_.arena().host(
          ArenaAddr(E::frame(e, level).value() + gpa % pmap::level_size(level)));
    }
  }

  Vmspace& space_;
  std::atomic<bool> running_{false};
  std::atomic<u64> seen_{0};
};

}  // namespace bhyve::mem
