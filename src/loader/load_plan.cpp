#include "loader/load_plan.hpp"

#include <algorithm>

#include "base/bits.hpp"

namespace bhyve::loader {
namespace {

constexpr u64 high_base = 4 * GiB;

}  // namespace

bool LoadPlan::is_ram(u64 at, u64 size) const {
  const bool high = at >= high_base;
  const u64 start = high ? at - high_base : at;
  const u64 ram = high ? memory_.highmem() : memory_.lowmem();
  if (start > ram || size > ram - start) return false;
  return std::any_of(map_.begin(), map_.end(), [&](const x86::E820Entry& entry) {
    return entry.type == x86::E820Type::ram && at >= entry.base &&
           at - entry.base <= entry.size && size <= entry.size - (at - entry.base);
  });
}

const LoadPlan::Part* LoadPlan::covering(u64 at, u64 size) const {
  const auto found = std::find_if(parts_.begin(), parts_.end(), [&](const Part& part) {
    return at < part.at + part.size && part.at < at + size;
  });
  return found == parts_.end() ? nullptr : &*found;
}

Result<void> LoadPlan::place(std::string_view what, u64 at, std::span<const u8> bytes, u64 size) {
  if (size == 0) return {};
  if (!is_ram(at, size))
    return fail(ENOMEM, "{}: {} bytes at {:#x} do not lie in the guest's memory", what, size, at);
  if (covering(at, size) != nullptr)
    return fail(ENOMEM, "{}: {} bytes at {:#x} lie over another part of what is loaded", what, size,
                at);
  parts_.push_back({at, size, bytes.first(std::min<u64>(bytes.size(), size))});
  return {};
}

std::optional<u64> LoadPlan::find_low(u64 size, u64 align, u64 from, u64 below) const {
  std::optional<u64> best;
  const auto consider = [&](u64 start) {
    if (start > ~u64{0} - align) return;
    const u64 at = align_up(std::max(start, from), align);
    const bool fits = at < below && size <= below - at && is_ram(at, size) && !covering(at, size);
    if (fits && (!best || at < *best)) best = at;
  };
  // A lowest place begins at the bound, at the start of RAM, or right behind another part.
  consider(from);
  for (const x86::E820Entry& entry : map_) consider(entry.base);
  for (const Part& part : parts_) consider(part.at + part.size);
  return best;
}

Result<u64> LoadPlan::put(std::string_view what, std::vector<u8> bytes, u64 align, u64 from,
                          u64 below) {
  const auto at = find_low(bytes.size(), align, from, below);
  if (!at)
    return fail(ENOMEM, "{}: no room for {} bytes in guest memory between {:#x} and {:#x}", what,
                bytes.size(), from, below);
  kept_.emplace_back(*at, std::move(bytes));
  const auto& stored = kept_.back().second;
  if (auto ok = place(what, *at, stored, stored.size()); !ok)
    return tl::make_unexpected(ok.error());
  return *at;
}

std::span<u8> LoadPlan::kept(u64 at) {
  for (auto& [address, bytes] : kept_)
    if (address == at) return bytes;
  return {};
}

u64 LoadPlan::end() const {
  u64 highest = 0;
  for (const Part& part : parts_) highest = std::max(highest, part.at + part.size);
  return highest;
}

Result<void> LoadPlan::commit() {
  for (const Part& part : parts_) {
    if (part.bytes.empty()) continue;
    if (auto ok = memory_.write(Gpa(part.at), part.bytes); !ok) return ok;
  }
  return {};
}

std::vector<u8> zero_terminated(std::string_view text) {
  std::vector<u8> bytes(text.begin(), text.end());
  bytes.push_back(0);
  return bytes;
}

}  // namespace bhyve::loader
