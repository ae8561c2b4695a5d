#include "engine/soft/runtime/tlb.hpp"

namespace bhyve::soft {

void Tlb::note(u64 linear) {
  const unsigned n = index(linear);
  if (noted_[n]) return;
  noted_[n] = true;
  used_[used_count_++] = static_cast<u16>(n);
}

void Tlb::flush(bool keep_global) {
  unsigned kept = 0;
  for (unsigned k = 0; k < used_count_; ++k) {
    const unsigned n = used_[k];
    if (keep_global && details_[n].global) {
      used_[kept++] = static_cast<u16>(n);
      continue;
    }
    drop(n);
    noted_[n] = false;
  }
  used_count_ = kept;
}

void Tlb::flush_page(u64 linear) {
  const unsigned n = index(linear);
  if (details_[n].page == (linear & ~page_mask) + 1) drop(n);
}

void Tlb::flush_large(u64 linear) {
  for (unsigned k = 0; k < used_count_; ++k) {
    const Detail& d = details_[used_[k]];
    if (d.large && ((d.page - 1) ^ linear) < GiB) drop(used_[k]);
  }
}

void Tlb::flush_writes() {
  for (unsigned k = 0; k < used_count_; ++k) table_[used_[k]].write = none(used_[k]);
}

}  // namespace bhyve::soft
