#pragma once
#include <functional>
#include <list>
#include <string>
#include <thread>

#include "api/control_protocol.hpp"
#include "base/fd.hpp"

namespace bhyve::api {

/// Serves the control socket of a running VM on a thread of its own, so that no request can hold up
/// a vCPU or a device. Peers of another user (root excepted) are turned away. A client that sends
/// too much, sends nonsense or does not read its answers is cut off; the others go on.
class ControlServer final {
 public:
  /// Answers one request; runs on the server's thread.
  using Handler = std::function<Result<Json>(const Json& request)>;

  /// `listener` is a listening, non-blocking unix socket. `confined`: the thread gives up the system
  /// calls that it does not need.
  ControlServer(UniqueFd listener, Handler handler, bool confined = false);
  ~ControlServer();  ///< stops the thread; answers that are not sent are lost
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Client {
    UniqueFd fd;
    std::string in, out;
    bool dead = false;
  };
  void serve();
  void accept_client();
  void read_from(Client& client);
  /// Sends what waits, then answers line after line as long as the client takes the answers.
  void pump(Client& client);

  UniqueFd listener_;
  UniqueFd stop_;
  Handler handler_;
  const bool confined_;
  std::list<Client> clients_;  ///< the server's thread only
  std::thread thread_;
};

}  // namespace bhyve::api
