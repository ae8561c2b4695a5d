// Runs a fuzz target without libFuzzer: the same inputs on every run, so that a failure repeats.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>

#include "fuzz/fuzz.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

std::size_t below(std::mt19937_64& random, std::size_t n) { return n == 0 ? 0 : random() % n; }

/// Overwrites one, two, four or eight bytes with a random or a border value.
void poke(std::mt19937_64& random, Bytes& input) {
  constexpr std::uint64_t borders[] = {0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
                                       0x7fff'ffff, 0x8000'0000, 0xffff'ffff, ~std::uint64_t{0}};
  if (input.empty()) return;
  const bool border = below(random, 2) == 0;
  const std::uint64_t value = border ? borders[below(random, std::size(borders))] : random();
  const std::size_t width = std::size_t{1} << below(random, 4);
  // Headers are at the front: half of the changes go there.
  const std::size_t range = below(random, 2) == 0 ? std::min<std::size_t>(input.size(), 768)
                                                  : input.size();
  const std::size_t at = below(random, range);
  for (std::size_t i = 0; i < width && at + i < input.size(); ++i) {
    input[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

Bytes mutate(std::mt19937_64& random, Bytes input) {
  for (std::size_t i = 1 + below(random, 4); i > 0; --i) poke(random, input);
  if (below(random, 8) == 0) input.resize(below(random, input.size() + 1));
  if (below(random, 16) == 0) input.resize(input.size() + below(random, 4096));
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  const long runs = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 10000;
  std::mt19937_64 random(1);
  std::vector<Bytes> seeds = fuzz_seeds();
  for (const Bytes& seed : seeds) LLVMFuzzerTestOneInput(seed.data(), seed.size());
  seeds.emplace_back();
  seeds.emplace_back(256);
  for (long run = 0; run < runs; ++run) {
    const Bytes input = mutate(random, seeds[below(random, seeds.size())]);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%ld inputs\n", runs);
  return 0;
}
