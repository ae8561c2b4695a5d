#include "session.hpp"

#include <chrono>
#include <thread>

namespace tool {

using bhyve::Result;

Result<bhyve::Control*> Session::control() {
  if (control_) return &*control_;
  // A bhyve that is starting has the VM and does not listen yet.
  constexpr unsigned attempts = 20;
  for (unsigned attempt = 0;; ++attempt) {
    auto remote = bhyve::Control::connect(options_.vm);
    if (remote) {
      control_.emplace(std::move(*remote));
      return &*control_;
    }
    if (remote.error().code != ESRCH) return tl::make_unexpected(remote.error());
    const auto own = stopped();
    if (own) {
      control_.emplace((*own)->control());
      return &*control_;
    }
    if (own.error().code != EBUSY || attempt == attempts) return tl::make_unexpected(own.error());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

Result<bhyve::OwnVm*> Session::stopped() {
  if (own_) return &*own_;
  auto own = bhyve::OwnVm::open(options_.vm, bhyve::OwnVm::For::looking);
  if (!own) return tl::make_unexpected(own.error());
  own_.emplace(std::move(*own));
  return &*own_;
}

void Session::disconnect() {
  control_.reset();
  own_.reset();
}

}  // namespace tool
