#pragma once
#include "diff_case.hpp"
#include "diff_forms.hpp"

namespace bhyve::test::diff {

/// Makes inputs for instructions: boundary values in registers, vectors, x87 and memory; memory
/// operands aimed at the data pages: aligned or not, across pages, at the end of what is mapped, at
/// unmapped, read-only and non-canonical addresses.
class Inputs final {
 public:
  explicit Inputs(Random& random);

  /// Fills `state` (with its rip) and `memory`; may change displacements in `c`. False: this
  /// encoding cannot be aimed (address registers that depend on each other), leave it out.
  bool make(Candidate& c, State& state, std::span<u8, data_size> memory);
  /// The same for instructions one after the other. Those that cannot be aimed, because of what the
  /// ones before them write, are taken out.
  void make(std::vector<Candidate>& sequence, State& state, std::span<u8, data_size> memory);

 private:
  u64 value();
  u64 target(bool explicit_operand);
  void fill_vectors(Vectors& v);
  void fill_x87(Vectors& v);
  void fill(State& s, std::span<u8, data_size> memory);
  bool aim(Candidate& c, State& s, u32& aimed);
  bool aim_operand(Candidate& c, const ZydisDecodedOperand& o, State& s, u32& aimed);
  bool patch_displacement(Candidate& c, u64 at, u64 rip);
  void limit_indexes(const Candidate& c, State& s);
  [[nodiscard]] bool in_reach(const Candidate& c, const State& s) const;

  Random& random_;
  static constexpr usize images = 4;
  std::array<std::array<u8, data_size>, images> images_;
};

}  // namespace bhyve::test::diff
