#pragma once
#include "base/clock.hpp"
#include "base/types.hpp"

namespace bhyve::timer {

/// The host's time stamp counter against CLOCK_MONOTONIC. Any thread.
struct TscClock final {
  /// Ticks a second, a multiple of 1 kHz, so that CPUID leaf 15h can state it exactly with a
  /// crystal of any number of whole MHz: numerator hz / 1000, denominator crystal / 1000.
  u64 hz = 1'000'000'000;

  /// Measures the frequency for 20 ms of busy waiting, better than 20 ppm. The processor's own word
  /// (CPUID leaves 15h and 16h) is taken where the measurement agrees with it, so that every start
  /// on a host finds the same number. Once per process, at start-up.
  [[nodiscard]] static TscClock measure();

  [[nodiscard]] static u64 host_now() { return __builtin_ia32_rdtsc(); }
  /// When the host's TSC reads `host_tsc` (monotonic, rounded up), and back. Both are anchored at
  /// the moment of the call: errors of hz do not add up over the uptime. A time before the
  /// clock's beginning gives 0; one out of reach gives `never`.
  [[nodiscard]] Nanos to_nanos(u64 host_tsc) const;
  [[nodiscard]] u64 from_nanos(Nanos time) const;
};

/// A vCPU's TSC: guest = (host * mult >> shift) + offset (architecture decision 12). mult = 1 and
/// shift = 0, the guest on its own host, is the form that translated code makes short. `mult` must
/// not be 0 and `shift` at most 63.
struct GuestTsc final {
  u64 mult = 1;
  unsigned shift = 0;
  u64 offset = 0;

  [[nodiscard]] constexpr u64 scale(u64 host) const {
    return static_cast<u64>(static_cast<unsigned __int128>(host) * mult >> shift);
  }
  [[nodiscard]] constexpr u64 from_host(u64 host) const { return scale(host) + offset; }
  /// The first host TSC at which the guest's reaches `guest`, in arithmetic modulo 2^64; saturates.
  [[nodiscard]] u64 to_host(u64 guest) const;
  /// WRMSR to IA32_TIME_STAMP_COUNTER changes the offset only.
  constexpr void set(u64 guest, u64 host) { offset = guest - scale(host); }
};

/// Deadline of the APIC timer in TSC-deadline mode: when the guest's TSC reaches `guest`.
[[nodiscard]] Nanos deadline_from_guest_tsc(const TscClock& clock, const GuestTsc& tsc, u64 guest);

}  // namespace bhyve::timer
