#pragma once
#include <functional>
#include <memory>
#include <string>

#include "api/control_protocol.hpp"
#include "base/fd.hpp"
#include "bhyve/vm.hpp"

namespace bhyve {

/// The two ways to a VM: its control socket, or a function of this process.
struct Control::Impl final {
  std::string name;
  UniqueFd socket;
  UniqueFd process;  ///< pidfd of the bhyve behind the socket; none when that is this process
  std::string buffer;
  std::function<Result<api::Json>(const api::Json&)> local;  ///< instead of the socket

  Result<api::Json> call(const api::Json& request);

  /// The call's result as a T, or EBADMSG when it does not have that shape.
  template <class T>
  Result<T> call_for(const api::Json& request) {
    auto result = call(request);
    if (!result) return tl::make_unexpected(result.error());
    try {
      return result->get<T>();
    } catch (const api::Json::exception&) {
      return fail(EBADMSG, "VM '{}': its answer to {} has the wrong shape", name,
                  request.value("command", ""));
    }
  }
  Result<void> order(const api::Json& request) {
    auto result = call(request);
    if (!result) return tl::make_unexpected(result.error());
    return {};
  }
};

}  // namespace bhyve
