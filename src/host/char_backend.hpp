#pragma once
#include <span>

#include "base/types.hpp"

namespace bhyve::host {

/// The device at a character back end. Calls come from the back end's thread, with no lock of the
/// back end held.
class CharClient {
 public:
  virtual ~CharClient() = default;
  /// How many bytes receive() would take now. 0: the back end stops reading until resume_input().
  virtual usize can_receive() = 0;
  /// Never more bytes than can_receive() said just before on this thread.
  virtual void receive(std::span<const u8> bytes) = 0;
  /// write() has room again after it took less than it was given.
  virtual void writable() = 0;
};

/// Where the bytes of a serial device go to and come from. Knows nothing of the guest.
/// Thread safety: any thread, unless said otherwise.
class CharBackend {
 public:
  virtual ~CharBackend() = default;
  /// Starts delivering to `client`; null stops: then no call to the old client runs on return. Not
  /// from a callback, nor with a lock held that the client takes.
  virtual void attach(CharClient* client) = 0;
  /// Takes as many of the bytes as there is room for and returns their number. Never blocks for long
  /// and never drops what it took, as long as the other side is there.
  virtual usize write(std::span<const u8> bytes) = 0;
  /// The client can take bytes again. Not with a lock held that the client's calls take.
  virtual void resume_input() = 0;
  /// Blocks until all that write() took has gone out (or the other side has). Not from the loop.
  virtual void flush() = 0;
};

}  // namespace bhyve::host
