#pragma once
#include <utility>

#include <fmt/format.h>

#include "bhyve/abi/error.hpp"

namespace bhyve {

/// Makes the failure branch of a Result.
template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(int code, fmt::format_string<Args...> format,
                                         Args&&... args) {
  return tl::make_unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

}  // namespace bhyve
