#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

/// What a fuzz target defines. The function aborts when the code under test breaks its promise.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

/// Valid inputs that the smoke driver starts from; may be empty.
[[nodiscard]] std::vector<std::vector<std::uint8_t>> fuzz_seeds();
