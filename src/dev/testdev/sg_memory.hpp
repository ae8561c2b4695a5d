#pragma once
#include <functional>

#include "bus/pci_function.hpp"

namespace bhyve::dev {

/// `-s N,sgmem,path=FILE,pieces=OFFSET+LENGTH:...`: a test device whose BAR 0 is memory of its own, pieces
/// of a file one after the other, mapped uncacheable into the guest as a passed-through device's memory
/// would be (bhyve: OBJT_SG). The BAR is the next power of two; behind the memory it reads as all ones.
/// Over another segment it does not show until it is programmed anew.
class SgMemory final : public bus::PciFunction {
 public:
  static constexpr u16 vendor = 0x1275, device = 0x5347;

  /// What puts the memory at an address (false: it cannot be there), and takes it away.
  struct Window {
    std::function<bool(u64 address)> show;
    std::function<void(u64 address)> hide;
  };
  SgMemory(bus::PciWiring wiring, u64 size, Window window);
  ~SgMemory() override;

 private:
  void on_bar(unsigned bar, bool mapped, u64 address) override;

  Window window_;
  bool shown_ = false;  ///< owned by the decoder's lock
};

}  // namespace bhyve::dev
