#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "base/fd.hpp"
#include "host/char_backend.hpp"
#include "host/event_loop.hpp"
#include "host/socket_address.hpp"

namespace bhyve::host {

/// `-l com1,tcp=127.0.0.1:5000` and `-l com1,unix=PATH`: a server for one client at a time. While one
/// is connected others are turned away; a client that has closed its side makes room for the next.
/// Without a client the guest does not wait: the latest output_limit bytes are kept for whoever comes.
/// Thread safety: as CharBackend says.
class SocketBackend final : public CharBackend {
 public:
  static constexpr usize output_limit = 64 * KiB;

  /// The sentence of a failure names the address.
  [[nodiscard]] static Result<std::unique_ptr<SocketBackend>> listen_tcp(EventLoop& loop,
                                                                         std::string_view address);
  /// Takes over a socket file that nobody listens on any more; only our user may connect. The file
  /// goes when this does.
  [[nodiscard]] static Result<std::unique_ptr<SocketBackend>> listen_unix(EventLoop& loop,
                                                                          const std::string& path);
  ~SocketBackend() override;  ///< detaches, flushes and hangs up

  /// Where clients come to: "ADDRESS:PORT" or the path.
  [[nodiscard]] const std::string& address() const { return address_; }

  void attach(CharClient* client) override;
  usize write(std::span<const u8> bytes) override;
  void resume_input() override;
  /// Gives up on a client that takes nothing for flush_patience_ms.
  void flush() override;

 private:
  static constexpr int flush_patience_ms = 5000;

  SocketBackend(EventLoop& loop, UniqueFd listener, std::string address, std::string file);
  [[nodiscard]] Result<void> start();
  void accept_client();
  void peer_ready(u32 events);
  void read_peer();
  void hang_up();
  void lose_peer_locked();
  void watch_peer_locked();
  /// False when the peer has gone.
  bool drain_locked();

  EventLoop& loop_;
  const UniqueFd listener_;
  const std::string address_;
  const std::string file_;             ///< to be unlinked; empty: none
  EventLoop::Watch listener_watch_ = 0;
  CharClient* client_ = nullptr;       ///< changed on the loop's thread only, read there only

  std::mutex mutex_;                   ///< guards all below
  UniqueFd peer_;                      ///< closed on the loop's thread only
  EventLoop::Watch peer_watch_ = 0;
  bool peer_lost_ = false;             ///< to be closed by the loop
  bool reading_ = false;               ///< the client wants input
  bool ended_ = false;                 ///< the peer sends no more
  bool refused_ = false;               ///< the client waits for writable()
  std::string waiting_;                ///< taken, not yet sent
};

}  // namespace bhyve::host
