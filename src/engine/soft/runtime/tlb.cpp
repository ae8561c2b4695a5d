#include "engine/soft/runtime/tlb.hpp"

namespace bhyve::soft {

void Tlb::note(u64 linear, bool global) {
  Log& log = global ? global_ : local_;
  const unsigned n = index(linear);
  if (log.noted[n]) return;
  log.noted[n] = true;
  log.index[log.count++] = static_cast<u16>(n);
}

void Tlb::flush(bool keep_global) {
  for (unsigned k = 0; k < local_.count; ++k) {
    const unsigned n = local_.index[k];
    if (!details_[n].global) drop(n);
    local_.noted[n] = false;
  }
  local_.count = 0;
  if (keep_global) return;
  for (unsigned k = 0; k < global_.count; ++k) {
    drop(global_.index[k]);
    global_.noted[global_.index[k]] = false;
  }
  global_.count = 0;
}

void Tlb::flush_page(u64 linear) {
  const unsigned n = index(linear);
  if (details_[n].page == (linear & ~page_mask) + 1) drop(n);
}

void Tlb::flush_large(u64 linear) {
  for_used([&](unsigned n) {
    const Detail& d = details_[n];
    if (d.large && ((d.page - 1) ^ linear) < GiB) drop(n);
  });
}

void Tlb::flush_writes() {
  for_used([&](unsigned n) { table_[n].write = none(n); });
}

}  // namespace bhyve::soft
