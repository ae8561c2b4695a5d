#pragma once
#include "bus/pci_function.hpp"

namespace bhyve::dev {

/// `-s 0,hostbridge` and `-s 0,amd_hostbridge`: the host-to-PCI bridge. It has no registers of its
/// own; its PCI Express capability tells guests that the machine is new enough for MSI.
class Hostbridge final : public bus::PciFunction {
 public:
  enum class Model { generic, amd };

  explicit Hostbridge(bus::PciWiring wiring, Model model = Model::generic);
};

}  // namespace bhyve::dev
