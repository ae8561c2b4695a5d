#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "base/types.hpp"
#include "x86/e820.hpp"

namespace bhyve::loader {

/// What the boot loader tells a FreeBSD kernel about itself and the files beside it: a list of
/// records (type, length, data padded to 8 bytes), as FreeBSD's sys/linker.h and amd64's
/// machine/metadata.h number them.
class FreebsdMetadata final {
 public:
  /// Kinds of MODINFO_METADATA.
  enum class Kind : u32 {
    elf_header = 0x0002, symbols_start = 0x0003, symbols_end = 0x0004, environment = 0x0006,
    howto = 0x0007, kernel_end = 0x0008, memory_map = 0x1001, modulep = 0x1006
  };

  /// Begins the records of a file.
  void begin(std::string_view name, std::string_view type, std::string_view arguments, u64 address,
             u64 size);
  void add(Kind kind, std::span<const u8> data);
  void add_word(Kind kind, u64 value);
  void add_howto(u32 flags);
  void add_memory_map(std::span<const x86::E820Entry> map);
  /// The records of further files.
  void append(const FreebsdMetadata& files);
  /// The whole list with its end record; nothing is added afterwards.
  [[nodiscard]] std::vector<u8> finish();

 private:
  void record(u32 type, std::span<const u8> data);
  void record_text(u32 type, std::string_view text);
  std::vector<u8> bytes_;
};

/// RB_ flags (sys/reboot.h) of the letters in words that begin with '-', as loader(8) reads
/// `boot_flags`: "-sv" is single user and verbose.
[[nodiscard]] u32 freebsd_howto(std::string_view command_line);

}  // namespace bhyve::loader
