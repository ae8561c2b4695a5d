#pragma once
#include "dev/testdev/sg_memory.hpp"
#include "machine/machine_config.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::machine {

/// `pieces` of -s N,sgmem: OFFSET+LENGTH, separated by colons; empty means all of the file.
[[nodiscard]] Result<std::vector<FilePiece>> parse_pieces(std::string_view text);

/// The memory behind a -s N,sgmem.
struct SgWindow final {
  u64 size;
  dev::SgMemory::Window window;
};
/// Opens and maps the file. The sentence of a failure names the device. `space` outlives the window.
[[nodiscard]] Result<SgWindow> open_sg_memory(mem::Vmspace& space, const PciDevice& device);

}  // namespace bhyve::machine
