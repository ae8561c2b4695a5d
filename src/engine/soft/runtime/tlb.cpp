#include "engine/soft/runtime/tlb.hpp"

namespace bhyve::soft {

void Tlb::flush(bool keep_global) {
  for (unsigned n = 0; n < entries; ++n)
    if (details_[n].page != none && !(keep_global && details_[n].global)) drop(n);
}

void Tlb::flush_page(u64 linear) {
  const unsigned n = index(linear);
  if (details_[n].page == (linear & ~page_mask)) drop(n);
}

void Tlb::flush_large(u64 linear) {
  for (unsigned n = 0; n < entries; ++n)
    if (details_[n].large && (details_[n].page ^ linear) < GiB) drop(n);
}

void Tlb::flush_writes() {
  for (Entry& e : table_) e.write = none;
}

}  // namespace bhyve::soft
