#include "engine/soft/translate/translation_records.hpp"

#include <algorithm>

namespace bhyve::soft {

usize TranslationRecords::bytes_of(usize region_bytes) {
  // Most translations have fewer exits than there is room for, and a third of these is linked.
  constexpr usize links_each = 1;
  constexpr usize each = sizeof(Translation) + exits_each * sizeof(CodeExit) +
                         places_each * sizeof(CodePlace) + links_each * sizeof(CodeLink);
  return region_bytes / bytes_each * each & ~page_mask;
}

TranslationRecords::TranslationRecords(usize regions, usize region_bytes)
    : per_region_(static_cast<u32>(region_bytes / bytes_each)),
      parts_(regions),
      translations_(regions * per_region_),
      exits_(regions * per_region_ * exits_each),
      places_(regions * per_region_ * places_each),
      links_(regions * per_region_ * exits_each + 1) {
  if (regions) parts_[0].translations = 1;  // number 0 is none
}

bool TranslationRecords::has_room(usize region) const {
  constexpr unsigned most_places = 32;
  const Part& part = parts_[region];
  return part.translations < per_region_ && part.exits + most_exits <= per_region_ * exits_each &&
         part.places + most_places <= per_region_ * places_each;
}

Translation& TranslationRecords::add(usize region, const std::vector<CodeExit>& exits,
                                     const std::vector<CodePlace>& places) {
  Part& part = parts_[region];
  Translation& t = translations_[next(region)];
  t = {};
  t.first_exit = static_cast<u32>(region * per_region_ * exits_each + part.exits);
  t.first_place = static_cast<u32>(region * per_region_ * places_each + part.places);
  t.exits = static_cast<u8>(exits.size());
  for (usize n = 0; n < exits.size(); ++n) exits_[t.first_exit + n] = exits[n];
  for (usize n = 0; n < places.size(); ++n) places_[t.first_place + n] = places[n];
  ++part.translations;
  part.exits += static_cast<u32>(exits.size());
  part.places += static_cast<u32>(places.size());
  return t;
}

void TranslationRecords::forget(usize region) {
  parts_[region] = {};
  if (region == 0) parts_[0].translations = 1;
}

void TranslationRecords::release(usize region) {
  translations_.release(region * per_region_, (region + 1) * per_region_);
  exits_.release(region * per_region_ * exits_each, (region + 1) * per_region_ * exits_each);
  places_.release(region * per_region_ * places_each, (region + 1) * per_region_ * places_each);
}

void TranslationRecords::forget_links_and_pages() {
  links_used_ = 1;
  free_links_ = none;
  pages_.clear();
  second_pages_.clear();
}

// ---- links --------------------------------------------------------------------------------------

void TranslationRecords::link(u32 from, Translation& to) {
  u32 number = free_links_;
  if (number)
    free_links_ = links_[number].next;
  else
    number = links_used_++;
  links_[number] = {from, number_of(to), to.incoming, none};
  if (to.incoming) links_[to.incoming].previous = number;
  to.incoming = number;
  exit(from).link = number;
}

void TranslationRecords::unlink(u32 from) {
  CodeExit& e = exit(from);
  CodeLink& l = links_[e.link];
  if (l.previous)
    links_[l.previous].next = l.next;
  else
    translations_[l.to].incoming = l.next;
  if (l.next) links_[l.next].previous = l.previous;
  l.next = free_links_;
  free_links_ = e.link;
  e.link = none;
}

// ---- pages --------------------------------------------------------------------------------------

void TranslationRecords::note_on_page(Translation& t, u64 page) {
  u32& head = pages_[page];
  t.next_on_page = head;
  head = number_of(t);
}

std::vector<TranslationRecords::Crossing>* TranslationRecords::on_second_page(u64 page) {
  const auto it = second_pages_.find(page);
  return it == second_pages_.end() ? nullptr : &it->second;
}

void TranslationRecords::forget_on_page(const Translation& t, u64 page) {
  const auto it = pages_.find(page);
  if (it == pages_.end()) return;
  for (u32* link = &it->second; *link; link = &translations_[*link].next_on_page)
    if (*link == number_of(t)) {
      *link = t.next_on_page;
      break;
    }
  if (!it->second) pages_.erase(it);
}

void TranslationRecords::forget_on_second_page(const Translation& t, u64 page) {
  const auto it = second_pages_.find(page);
  if (it == second_pages_.end()) return;
  std::erase_if(it->second, [&](const Crossing& c) { return c.translation == number_of(t); });
  if (it->second.empty()) second_pages_.erase(it);
}

void TranslationRecords::forget_region_on_page(const Translation& t, u64 page) {
  if (t.next_on_page == off_page) return;  // the whole page has been looked through
  const auto it = pages_.find(page);
  if (it == pages_.end()) return;
  const usize region = region_of(number_of(t));
  for (u32* link = &it->second; *link;) {
    Translation& each = translations_[*link];
    if (region_of(*link) == region) {
      *link = each.next_on_page;
      each.next_on_page = off_page;
    } else {
      link = &each.next_on_page;
    }
  }
  if (!it->second) pages_.erase(it);
}

u32 TranslationRecords::take_page(u64 page) {
  const auto it = pages_.find(page);
  if (it == pages_.end()) return none;
  const u32 first = it->second;
  pages_.erase(it);
  return first;
}

std::vector<TranslationRecords::Crossing> TranslationRecords::take_second_page(u64 page) {
  const auto it = second_pages_.find(page);
  if (it == second_pages_.end()) return {};
  std::vector<Crossing> taken = std::move(it->second);
  second_pages_.erase(it);
  return taken;
}

}  // namespace bhyve::soft
