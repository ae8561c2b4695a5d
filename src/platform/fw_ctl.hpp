#pragma once
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/state.hpp"
#include "base/types.hpp"

namespace bhyve::platform {

/// bhyve's own firmware interface: requests and answers of 32-bit words. A request is its size in
/// bytes, the operation, a number of the guest's choice, and data; the answer is its size, operation
/// and number again, an errno value, and data. Operations: GET (3) and GET_LEN (4) of a value by its
/// name. Pure: ports and locking are fw_ctl_pio.hpp's. Not thread safe.
class FwCtl final {
 public:
  static constexpr u32 op_get = 3, op_get_length = 4;
  static constexpr usize name_limit = 80;

  void set_value(std::string_view name, std::vector<u8> bytes);

  /// A word to the selector: 0 asks for the signature, whatever was going on.
  void select(u16 value);
  /// A byte: of the signature, else ones.
  [[nodiscard]] u8 next_byte();
  /// A word of a request, and one of the answer; ones when there is none.
  void write(u32 word);
  [[nodiscard]] u32 read();

  void reset();
  void save(StateWriter& out) const;
  void load(StateSection& in);

 private:
  enum class Phase : u8 { waiting, signature, request, answer };
  void begin_data();
  void add_data(u32 word);
  void answer();

  std::map<std::string, std::vector<u8>, std::less<>> values_;
  Phase phase_ = Phase::waiting;
  u8 position_ = 0;          ///< in the signature, or of a request's header
  u32 left_ = 0;             ///< bytes of data still to come
  u32 operation_ = 0, number_ = 0;
  std::string name_;
  u32 error_ = 0;
  std::vector<u32> answer_;  ///< words not yet read, the next one last
};

}  // namespace bhyve::platform
