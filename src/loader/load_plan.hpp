#pragma once
#include <deque>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "loader/guest_memory.hpp"
#include "x86/e820.hpp"

namespace bhyve::loader {

/// Collects what goes where, so that every check comes before the first write and no part covers
/// another. Guest RAM is zero before a program is loaded: what is only reserved (a program's bss)
/// is never written.
class LoadPlan final {
 public:
  /// `memory` and `map` outlive the plan. Only RAM that both tell of is given out.
  LoadPlan(GuestMemory& memory, std::span<const x86::E820Entry> map) : memory_(memory), map_(map) {}

  /// Takes [at, at + size) and puts `bytes` (at most `size`, alive until commit()) at its start.
  /// ENOMEM when it is not all RAM or not all free; the sentence begins with `what`.
  [[nodiscard]] Result<void> place(std::string_view what, u64 at, std::span<const u8> bytes,
                                   u64 size);
  /// The lowest free RAM address in [from, below) with room for `size` bytes; `align` is a power of
  /// two.
  [[nodiscard]] std::optional<u64> find_low(u64 size, u64 align, u64 from, u64 below) const;
  /// find_low() and place() of bytes that the plan keeps; ENOMEM when there is no room.
  [[nodiscard]] Result<u64> put(std::string_view what, std::vector<u8> bytes, u64 align, u64 from,
                                u64 below);
  /// Changes bytes that put() placed: pointers that are known only later.
  [[nodiscard]] std::span<u8> kept(u64 at);
  /// End of the highest part so far.
  [[nodiscard]] u64 end() const;
  [[nodiscard]] Result<void> commit();

 private:
  struct Part {
    u64 at;
    u64 size;
    std::span<const u8> bytes;
  };
  [[nodiscard]] bool is_ram(u64 at, u64 size) const;
  [[nodiscard]] const Part* covering(u64 at, u64 size) const;

  GuestMemory& memory_;
  std::span<const x86::E820Entry> map_;
  std::vector<Part> parts_;
  std::deque<std::pair<u64, std::vector<u8>>> kept_;
};

/// The text as C programs want it.
[[nodiscard]] std::vector<u8> zero_terminated(std::string_view text);

}  // namespace bhyve::loader
