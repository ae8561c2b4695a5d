#include "machine/loaded_guest.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/state.hpp"
#include "loader/load.hpp"
#include "machine/boot_files.hpp"
#include "machine/vm_memory.hpp"
#include "platform/e820.hpp"

namespace bhyve::machine {
namespace {

constexpr u32 version = 1;
constexpr const char* section_name = "loaded";
constexpr usize chunk = 1 * MiB;

/// Every integer in the order of the format; writer and reader share it.
template <class State, class Visit>
void visit(State& s, Visit&& v) {
  v(s.lowmem), v(s.highmem);
  auto& e = s.entry;
  v(e.rip), v(e.rsp), v(e.rax), v(e.rbx), v(e.rsi), v(e.rflags);
  v(e.cr0), v(e.cr3), v(e.cr4), v(e.efer);
  v(e.gdt.base), v(e.gdt.limit), v(e.idt.base), v(e.idt.limit);
  for (auto* seg : {&e.cs, &e.ds, &e.es, &e.ss, &e.fs, &e.gs, &e.ldtr, &e.tr})
    v(seg->selector), v(seg->access), v(seg->limit), v(seg->base);
}

struct Put {
  StateWriter& out;
  void operator()(u16 x) { out.put_u16(x); }
  void operator()(u32 x) { out.put_u32(x); }
  void operator()(u64 x) { out.put_u64(x); }
};
struct Get {
  StateSection& in;
  void operator()(u16& x) { x = in.get_u16(); }
  void operator()(u32& x) { x = in.get_u32(); }
  void operator()(u64& x) { x = in.get_u64(); }
};

[[nodiscard]] bool read_at(int fd, std::span<u8> into, u64 offset) {
  while (!into.empty()) {
    const ssize_t n = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EBADMSG;
    if (n <= 0) return false;
    into = into.subspan(static_cast<usize>(n));
    offset += static_cast<u64>(n);
  }
  return true;
}

[[nodiscard]] bool write_at(int fd, std::span<const u8> from, u64 offset) {
  while (!from.empty()) {
    const ssize_t n = ::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    from = from.subspan(static_cast<usize>(n));
    offset += static_cast<u64>(n);
  }
  return true;
}

/// Calls op(offset, bytes) for each populated piece of a sparse file.
template <class Op>
[[nodiscard]] Result<void> for_data(int fd, const Op& op) {
  std::vector<u8> buffer(chunk);
  for (off_t at = 0;;) {
    const off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    const off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return fail(errno, "{}", std::strerror(errno));
    for (at = data; at < hole;) {
      const auto size = static_cast<usize>(std::min<off_t>(hole - at, chunk));
      const auto bytes = std::span(buffer).first(size);
      if (!read_at(fd, bytes, static_cast<u64>(at)))
        return fail(errno, "{}", std::strerror(errno));
      if (Result<void> done = op(static_cast<u64>(at), bytes); !done) return done;
      at += static_cast<off_t>(size);
    }
  }
}

/// Pages of zeros stay holes.
[[nodiscard]] Result<void> write_pages(int fd, u64 at, std::span<const u8> bytes) {
  for (usize i = 0; i < bytes.size(); i += page_size) {
    const auto page = bytes.subspan(i, std::min<usize>(page_size, bytes.size() - i));
    if (std::all_of(page.begin(), page.end(), [](u8 b) { return b == 0; })) continue;
    if (!write_at(fd, page, at + i)) return fail(errno, "{}", std::strerror(errno));
  }
  return {};
}

}  // namespace

Result<void> save_memory(const mem::Vmspace& space, int fd) {
  const auto saved = for_data(space.ram_fd(), [fd](u64 at, std::span<const u8> bytes) {
    return write_pages(fd, at, bytes);
  });
  if (!saved)
    return fail(saved.error().code, "cannot write guest memory: {}", saved.error().message);
  return {};
}

std::vector<u8> save_loaded_state(const LoadedState& state) {
  StateWriter out;
  out.section(section_name, version, [&](StateWriter& body) { visit(state, Put{body}); });
  return out.bytes();
}

Result<LoadedState> parse_loaded_state(std::span<const u8> bytes) {
  LoadedState state;
  const auto reader = StateReader::parse(bytes);
  if (!reader) return fail(EBADMSG, "{}", reader.error().message);
  const auto read = reader->section(section_name, version,
                                    [&](StateSection& body) { visit(state, Get{body}); });
  if (!read) return fail(EBADMSG, "{}", read.error().message);
  return state;
}

Result<std::vector<u8>> load_stopped_guest(const Config& config, int memory_fd) {
  const auto resolved = resolve(config);
  if (!resolved) return tl::make_unexpected(resolved.error());
  if (resolved->kernel.empty())
    return fail(EINVAL, "nothing to load: expected --kernel FILE or -h DIRECTORY");
  auto boot = read_boot_request(*resolved, config);
  if (!boot) return tl::make_unexpected(boot.error());
  auto space = mem::Vmspace::create({.lowmem = resolved->lowmem, .highmem = resolved->highmem});
  if (!space) return tl::make_unexpected(space.error());
  VmMemory memory(**space);
  const auto map = platform::make_e820(resolved->lowmem, resolved->highmem);
  const auto entry = loader::load_kernel(memory, std::move(*boot), map);
  if (!entry) return tl::make_unexpected(entry.error());
  if (auto ok = save_memory(**space, memory_fd); !ok) return tl::make_unexpected(ok.error());
  return save_loaded_state({resolved->lowmem, resolved->highmem, *entry});
}

Result<void> restore_memory(mem::Vmspace& space, int memory_fd) {
  const auto attached = space.attach_image(memory_fd);
  if (!attached) return fail(EBADMSG, "memory.img is damaged: {}", attached.error().message);
  return {};
}

}  // namespace bhyve::machine
