#pragma once
#include "base/types.hpp"
#include "timer/vrtc_pio.hpp"

namespace bhyve::machine {

/// Writes what a PC's setup program leaves in CMOS memory beyond the memory sizes of VrtcPio: equipment
/// (14h: FPU, PS/2 mouse, no display, no floppy), memory below and above 1 MiB in KiB (15h-18h, 30h-31h),
/// the checksum of 10h-2Dh (2Eh-2Fh) and, as QEMU has it, the number of CPUs less one (5Fh).
void fill_cmos(timer::VrtcPio& rtc, u64 lowmem, u32 vcpus);

}  // namespace bhyve::machine
