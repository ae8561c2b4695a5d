#pragma once
#include <atomic>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "mem/vm_map.hpp"
#include "mem/vm_object.hpp"
#include "mem/vmspace.hpp"

namespace bhyve::mem {

struct Vmspace::Impl {
  mutable std::shared_mutex lock;  ///< guards map, objects, parked, files; shared by faults and holds
  VmMap map;
  /// Bank 0 (RAM) first, then segments. Objects stay, mapped, until the Vmspace dies.
  std::vector<std::unique_ptr<VmObject>> objects;
  std::vector<VmObject*> parked;  ///< objects of removed segments, empty, for reuse
  struct Files {
    VmObject* object;
    std::string name;
    bool writable;
  };
  std::vector<Files> files;  ///< by number
  std::atomic<u64> holds{0};
  std::atomic<u64> wired{0};  ///< pages
  bool cow = false;           ///< somebody protects pages copy-on-write; under the exclusive lock
  std::atomic<u64> last_region{0};  ///< of 2 MiB, where the last fault was
};

/// How the pmap maps the page at gpa, which belongs to `entry`.
[[nodiscard]] inline pmap::Mapping mapping_of(const VmMap::Entry& entry, u64 gpa) {
  pmap::Mapping m;
  m.frame = pmap::FrameArena::address(entry.object->bank(), entry.offset + (gpa - entry.start));
  m.write = has(entry.prot, Prot::write);
  m.exec = has(entry.prot, Prot::exec);
  m.uncacheable = entry.uncacheable;
  return m;
}

}  // namespace bhyve::mem
