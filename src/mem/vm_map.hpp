#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/types.hpp"
#include "mem/prot.hpp"
#include "mem/vm_object.hpp"
#include "pmap/arena.hpp"

namespace bhyve::mem {

/// The map entries of a Vmspace: RAM below, segments above it. Pure bookkeeping: it owns no memory.
/// Thread safety: none of its own; Vmspace's map lock guards it.
class VmMap final {
 public:
  struct Entry {
    u64 start = 0;
    u64 end = 0;  ///< one past the last byte
    Prot prot = Prot::none;
    VmObject* object = nullptr;
    u64 offset = 0;  ///< of `start`, into the object
    std::string_view name;
    bool uncacheable = false;  ///< device memory

    [[nodiscard]] bool ram() const { return object->bank() == pmap::FrameArena::ram_bank; }
    [[nodiscard]] std::byte* host(u64 gpa) const { return object->data() + offset + (gpa - start); }
  };

  /// RAM in [start, end); its offset in the object is its address.
  void add_ram(u64 start, u64 end, VmObject* object);
  /// Takes the segment that starts at `start` out; the caller may add it again.
  struct Segment {
    u64 length;
    Prot prot;
    VmObject* object;
    std::string name;
    bool uncacheable = false;
  };
  /// False on overlap with another segment. The range must be sane (start < end).
  [[nodiscard]] bool add_segment(u64 start, Segment segment);
  [[nodiscard]] std::optional<Segment> remove_segment(u64 start);
  [[nodiscard]] const Segment* segment(u64 start) const;
  /// Some segment shows this object.
  [[nodiscard]] bool shows(const VmObject* object) const;

  /// What is at gpa, as far as it reaches in both directions without a seam.
  [[nodiscard]] std::optional<Entry> find(u64 gpa) const;
  /// All entries in order of address.
  [[nodiscard]] std::vector<Entry> entries() const;

 private:
  struct Ram {
    u64 start, end;
    VmObject* object;
  };
  [[nodiscard]] bool overlaps(u64 start, u64 end) const;

  std::vector<Ram> ram_;             ///< in order of address
  std::map<u64, Segment> segments_;  ///< by start
};

}  // namespace bhyve::mem
