#pragma once
#include "bus/pci_msi.hpp"

namespace bhyve::bus {

/// MSI-X (PCI Local Bus 3.0 section 6.8.2): the capability in configuration space and the table and
/// pending bits, which the function shows at table_offset and pba_offset() of one memory BAR. Pure.
class PciMsix final {
 public:
  static constexpr unsigned length = 0x0c;  ///< bytes of the capability
  static constexpr unsigned max_vectors = 2048;

  /// Writes the capability at `offset`; the table starts at `table_offset` (8-byte aligned) of `bar`.
  PciMsix(PciConfig& config, unsigned offset, unsigned vectors, unsigned bar, u32 table_offset);

  [[nodiscard]] unsigned vectors() const { return static_cast<unsigned>(table_.size()); }
  [[nodiscard]] unsigned bar() const { return bar_; }
  [[nodiscard]] u32 table_offset() const { return table_offset_; }
  /// The pending bits start on the page after the table.
  [[nodiscard]] u32 pba_offset() const;
  /// First byte after table and pending bits.
  [[nodiscard]] u32 end_offset() const;

  [[nodiscard]] bool enabled(const PciConfig& config) const;
  void raise(const PciConfig& config, unsigned vector, bool master, MsiMessages& out);
  /// After a configuration write: sends what has waited and may go now.
  void update(const PciConfig& config, bool master, MsiMessages& out);
  void reset();  ///< the table; the capability is reset with the configuration space

  /// A guest's access inside the BAR. The specification allows aligned 4 and 8 bytes; others read
  /// all ones and are dropped. Holes read zero.
  [[nodiscard]] u64 read(u64 offset, unsigned size) const;
  void write(const PciConfig& config, u64 offset, unsigned size, u64 value, bool master,
             MsiMessages& out);

  void save(StateWriter& out) const;
  void load(StateSection& in);

 private:
  struct Entry {
    u32 word[4] = {0, 0, 0, 1};  ///< address low, high, data, control (bit 0: masked)
    bool pending = false;
  };

  void send(const PciConfig& config, Entry& e, bool master, MsiMessages& out) const;
  [[nodiscard]] u32 read_word(u64 offset) const;
  void write_word(u64 offset, u32 value);

  unsigned at_;
  unsigned bar_;
  u32 table_offset_;
  std::vector<Entry> table_;
};

}  // namespace bhyve::bus
