#pragma once
#include <cerrno>
#include <string>
#include <tl/expected.hpp>

namespace bhyve {

/// Why something failed: an errno value for programs and one sentence for people. The sentence names
/// the option or file and what was expected; it has no newline and no trailing full stop.
struct Error final {
  int code = EINVAL;
  std::string message;
};

/// The result of set-up and control calls. Never used on paths that a guest can reach.
template <class T = void>
using Result = tl::expected<T, Error>;

}  // namespace bhyve
