#pragma once
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/error.hpp"
#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::platform {

/// Guest memory as the DMA interface needs it. False: some of it is no memory.
class FwCfgMemory {
 public:
  virtual ~FwCfgMemory() = default;
  [[nodiscard]] virtual bool read(Gpa gpa, std::span<u8> into) = 0;
  [[nodiscard]] virtual bool write(Gpa gpa, std::span<const u8> from) = 0;
};

/// QEMU's firmware configuration device (its docs/specs/fw_cfg): items of bytes by 16-bit keys, read
/// one byte after the other or by DMA, and named files with a directory. Nothing in it is writable by
/// the guest. Pure: ports and locking are fw_cfg_pio.hpp's. Not thread safe.
class FwCfg final {
 public:
  /// Keys of fixed meaning; numbers are little-endian.
  enum Key : u16 {
    key_signature = 0x00, key_id = 0x01, key_uuid = 0x02, key_ram_size = 0x03,
    key_nographic = 0x04, key_cpus = 0x05, key_kernel_address = 0x07, key_kernel_size = 0x08,
    key_initrd_address = 0x0a, key_initrd_size = 0x0b, key_boot_menu = 0x0e, key_max_cpus = 0x0f,
    key_kernel_data = 0x11, key_initrd_data = 0x12, key_cmdline_size = 0x14,
    key_cmdline_data = 0x15, key_setup_size = 0x17, key_setup_data = 0x18, key_directory = 0x19,
    key_first_file = 0x20
  };
  static constexpr usize name_limit = 55;   ///< bytes of a file's name
  static constexpr usize file_limit = 0x1000;

  FwCfg();  ///< with signature, identification and an empty directory

  void set_item(u16 key, std::vector<u8> bytes);
  void set_number(u16 key, u64 value, unsigned size);
  /// EINVAL for a name that is empty or too long, EEXIST for one that is there, ENOSPC.
  [[nodiscard]] Result<void> add_file(std::string_view name, std::vector<u8> bytes);
  [[nodiscard]] const std::vector<u8>* file(std::string_view name) const;

  /// The selector register: the next byte is the item's first. Keys without an item read zeros.
  void select(u16 key);
  /// The data register.
  [[nodiscard]] u8 next_byte();
  /// Carries out the request (FWCfgDmaAccess) at `request` and writes its outcome there.
  void dma(Gpa request, FwCfgMemory& memory);

  void reset();
  void save(StateWriter& out) const;  ///< the position; the items are the machine's
  void load(StateSection& in);

 private:
  static constexpr u16 select_mask = 0xbfff;  ///< bit 14 selects writing, which nothing allows

  void index_files();
  [[nodiscard]] std::span<const u8> rest() const;
  [[nodiscard]] bool transfer(Gpa to, u32 length, FwCfgMemory& memory);
  void skip(u32 length);

  std::map<u16, std::vector<u8>> items_;
  std::map<std::string, u16, std::less<>> files_;
  u16 selected_ = 0;
  u64 offset_ = 0;
};

}  // namespace bhyve::platform
