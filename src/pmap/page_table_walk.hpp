#pragma once
// The walk that page_table.cpp and page_table_flags.cpp share; nobody else includes this.
#include <algorithm>

#include "base/bits.hpp"
#include "pmap/page_table.hpp"

namespace bhyve::pmap {

template <class Format>
template <class Op>
void PageTable<Format>::for_whole_leaves(ArenaAddr table, unsigned level, u64 start, u64 last,
                                         const Op& op) {
  const u64 size = level_size(level);
  for (u64 va = align_down(start, size); va <= last; va += size) {
    Entry* slot = table_at(table) + index(va, level);
    const u64 e = slot->load(std::memory_order_acquire);
    if (!format_.present(e)) continue;
    if (format_.is_leaf(e, level))
      op(*slot, va, level);
    else
      for_whole_leaves(format_.frame(e), level - 1, std::max(va, start),
                       std::min(last, va + size - 1), op);
  }
}

}  // namespace bhyve::pmap
