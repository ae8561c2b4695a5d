#pragma once
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/types.hpp"

namespace bhyve {

/// Writes the saved-state format (docs/state-format.md): a sequence of tagged sections, each with
/// name, version, length and CRC32. All integers little-endian.
class StateWriter final {
 public:
  StateWriter();

  /// Appends one section; `body` fills it with the put calls. Sections do not nest, names have 1 to
  /// 255 bytes and are used once.
  void section(std::string_view name, u32 version, const std::function<void(StateWriter&)>& body);

  void put_u8(u8 v) { put(&v, sizeof v); }
  void put_u16(u16 v) { put(&v, sizeof v); }
  void put_u32(u32 v) { put(&v, sizeof v); }
  void put_u64(u64 v) { put(&v, sizeof v); }
  void put_bool(bool v) { put_u8(v ? 1 : 0); }
  void put_bytes(std::span<const u8> v) { put(v.data(), v.size()); }
  void put_string(std::string_view v);  ///< u32 length, then the bytes

  [[nodiscard]] const std::vector<u8>& bytes() const { return out_; }

 private:
  void put(const void* p, usize n);
  void seal();  ///< brings the file header up to date: bytes() is valid after every section
  std::vector<u8> out_;
  u32 count_ = 0;
  bool in_section_ = false;
};

/// Reads the body of one section. Reading past the end or a bad value makes it failed: every later
/// get returns zero, and ok() tells. The caller checks ok() once at the end.
class StateSection final {
 public:
  StateSection(u32 version, std::span<const u8> body) : version_(version), body_(body) {}

  [[nodiscard]] u32 version() const { return version_; }
  u8 get_u8() { return get<u8>(); }
  u16 get_u16() { return get<u16>(); }
  u32 get_u32() { return get<u32>(); }
  u64 get_u64() { return get<u64>(); }
  bool get_bool();  ///< fails on values other than 0 and 1
  void get_bytes(std::span<u8> into);
  std::string get_string(usize max_length);
  /// Marks the section bad: for values that are out of the chip's range.
  void reject() { failed_ = true; }
  [[nodiscard]] bool ok() const { return !failed_; }
  [[nodiscard]] usize remaining() const { return body_.size() - at_; }

 private:
  template <class T>
  T get();
  u32 version_;
  std::span<const u8> body_;
  usize at_ = 0;
  bool failed_ = false;
};

/// Strict, bounded reader. The bytes must outlive the reader. parse() checks the whole structure (magic, lengths, checksums, duplicate
/// names) before any section is handed out. Unknown sections are simply never asked for.
class StateReader final {
 public:
  [[nodiscard]] static Result<StateReader> parse(std::span<const u8> bytes);

  [[nodiscard]] bool has(std::string_view name) const;
  /// Runs `body` on the section. Fails with a sentence naming the section when it is missing, its
  /// version is above max_version, the body rejected it, or bytes were left over.
  [[nodiscard]] Result<void> section(std::string_view name, u32 max_version,
                                     const std::function<void(StateSection&)>& body) const;

 private:
  struct Entry {
    u32 version;
    std::span<const u8> body;
  };
  /// Checks and enters the section at `start`; returns where the next one begins.
  Result<usize> parse_section(std::span<const u8> bytes, usize start);
  std::map<std::string, Entry, std::less<>> sections_;
};

}  // namespace bhyve
