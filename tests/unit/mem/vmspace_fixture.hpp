#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "mem/ram_access.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::mem {

/// A space with 16 MiB of low and 8 MiB of high memory.
class VmspaceTest : public testing::Test {
 protected:
  static constexpr u64 lowmem = 16 * MiB, highmem = 8 * MiB;

  static std::unique_ptr<Vmspace> make(Vmspace::Options options) {
    auto made = Vmspace::create(options);
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    return made ? std::move(*made) : nullptr;
  }

  std::unique_ptr<Vmspace> space = make({lowmem, highmem});

  /// The leaf entry for gpa, or 0.
  u64 leaf(Gpa gpa) const {
    const auto l = space->pmap().lookup(gpa.value());
    return l.present ? l.entries[l.count - 1] : 0;
  }
  bool dirty(Gpa gpa) const { return leaf(gpa) & space->pmap().modified_bit(); }
  u64 guest_word(Gpa gpa) {
    const auto l = space->pmap().lookup(gpa.value());
    EXPECT_TRUE(l.present);
    return l.present ? ram_load<u64>(space->arena().host(ArenaAddr(l.frame))) : 0;
  }
};

}  // namespace bhyve::mem
