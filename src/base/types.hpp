#pragma once
#include <cstddef>
#include <cstdint>

namespace bhyve {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using usize = std::size_t;

/// A vCPU number, 0 .. vCPUs of the VM - 1. Vcpu 0 is the bootstrap processor.
using VcpuId = u32;

inline constexpr u64 KiB = u64{1} << 10;
inline constexpr u64 MiB = u64{1} << 20;
inline constexpr u64 GiB = u64{1} << 30;

inline constexpr unsigned page_shift = 12;
inline constexpr u64 page_size = u64{1} << page_shift;
inline constexpr u64 page_mask = page_size - 1;
inline constexpr u64 superpage_size = 2 * MiB;

/// Direction of an access as the CPU sees it.
enum class Dir : u8 { read, write };

}  // namespace bhyve
