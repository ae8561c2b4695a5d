#pragma once
#include <unordered_map>
#include <vector>

#include "base/types.hpp"
#include "engine/soft/translate/reserved_array.hpp"

namespace bhyve::soft {

struct Block;

/// Where an instruction's code begins, counted from the block's, and whether the flags are in the host's
/// register there.
struct CodePlace final {
  u16 offset : 15;
  u16 flags_live : 1;
};

/// A way out of a translation that leads to a fixed place.
struct CodeExit final {
  u16 jump;             ///< rel32 to patch; counted from the translation's code, or from its cold code
  u16 unlinked;         ///< where `jump` leads without a link; from the cold code
  u16 tag;              ///< 8 bytes that page and key are compared with, from the cold code; 0 within a page
  u16 page_offset : 12; ///< of the target, in its page
  u16 in_cold : 1;      ///< `jump` counts from there
  u16 plain : 1;        ///< to a plain translation
  u32 link;             ///< number of its CodeLink; 0: none
};
static_assert(sizeof(CodeExit) == 12);

/// An exit leads straight to a translation, in whose list of such ones it is.
struct CodeLink final {
  u32 exit, to;
  u32 next, previous;  ///< 0: none
};

/// Where code lies and which exits belong to it. What is thrown away before its region is has no block.
struct Translation final {
  Block* block;
  u32 code, cold;       ///< places in CodeCache
  u32 first_exit, first_place;
  u32 incoming;         ///< first of the links to it
  u32 next_on_page;     ///< number of the next translation of the same page, 0 = none
  u16 bytes;
  u8 exits;
  bool plain;           ///< Block::plain, not Block::translation
};
static_assert(sizeof(Translation) == 40);

/// What is known of a vCPU's translations: flat arrays with a part for each region of the CodeCache, and
/// beside them the links, and who is on a page. Numbers instead of pointers: that of a translation counts
/// all, from 1; that of an exit is the translation's and its own number there.
/// Owner: the vCPU's thread.
class TranslationRecords final {
 public:
  static constexpr u32 none = 0;
  static constexpr usize bytes_each = 512;  ///< of a region's memory, for one translation and its records
  static constexpr unsigned exit_bits = 6, most_exits = 1u << exit_bits;

  /// Bytes of a region's memory that its records may take: the rest is for code.
  [[nodiscard]] static usize bytes_of(usize region_bytes);

  TranslationRecords(usize regions, usize region_bytes);

  /// Room for one more translation in a region, with what most of them have.
  [[nodiscard]] bool has_room(usize region) const;
  [[nodiscard]] u32 next(usize region) const {
    return static_cast<u32>(region * per_region_ + parts_[region].translations);
  }
  /// Takes it.
  Translation& add(usize region, const std::vector<CodeExit>& exits, const std::vector<CodePlace>& places);
  /// All of a region are gone.
  void forget(usize region);
  /// And their memory is needed elsewhere.
  void release(usize region);
  [[nodiscard]] u32 first(usize region) const {
    return static_cast<u32>(region * per_region_ + (region == 0 ? 1 : 0));
  }

  [[nodiscard]] Translation& at(u32 number) { return translations_[number]; }
  [[nodiscard]] u32 number_of(const Translation& t) const {
    return static_cast<u32>(translations_.index_of(t));
  }
  [[nodiscard]] usize region_of(u32 number) const { return number / per_region_; }
  [[nodiscard]] static u32 exit_number(u32 translation, unsigned n) { return translation << exit_bits | n; }
  [[nodiscard]] Translation& from(u32 exit) { return translations_[exit >> exit_bits]; }
  [[nodiscard]] CodeExit& exit(u32 number) {
    return exits_[from(number).first_exit + (number & (most_exits - 1))];
  }
  [[nodiscard]] const CodePlace& place(const Translation& t, unsigned insn) const {
    return places_[t.first_place + insn];
  }

  /// When all regions are forgotten.
  void forget_links_and_pages();

  // ---- links -----------------------------------------------------------------------------------
  void link(u32 exit, Translation& to);
  /// The exit has one.
  void unlink(u32 exit);
  [[nodiscard]] const CodeLink& link_of(u32 number) const { return links_[number]; }

  // ---- pages -----------------------------------------------------------------------------------
  /// A translation whose one instruction goes on in another page: 8 bytes of its code are compared with
  /// that.
  struct Crossing {
    u32 translation;
    u32 tag;  ///< place in CodeCache
  };
  void note_on_page(Translation& t, u64 page);
  void note_on_second_page(const Crossing& crossing, u64 page) { second_pages_[page].push_back(crossing); }
  [[nodiscard]] std::vector<Crossing>* on_second_page(u64 page);
  void forget_on_page(const Translation& t, u64 page);
  void forget_on_second_page(const Translation& t, u64 page);
  /// Those of a region are on the page no more. `t` is one of them.
  void forget_region_on_page(const Translation& t, u64 page);
  /// Takes the page's list away. The first of it, or none.
  [[nodiscard]] u32 take_page(u64 page);
  [[nodiscard]] std::vector<Crossing> take_second_page(u64 page);

 private:
  static constexpr usize exits_each = 4, places_each = 12;
  static constexpr u32 off_page = ~u32{0};
  struct Part {
    u32 translations = 0, exits = 0, places = 0;
  };

  const u32 per_region_;
  std::vector<Part> parts_;
  ReservedArray<Translation> translations_;
  ReservedArray<CodeExit> exits_;
  ReservedArray<CodePlace> places_;
  ReservedArray<CodeLink> links_;
  u32 links_used_ = 1, free_links_ = none;
  std::unordered_map<u64, u32> pages_;  ///< first translation
  std::unordered_map<u64, std::vector<Crossing>> second_pages_;
};

}  // namespace bhyve::soft
