#include "dev/ps2/ps2_device.hpp"

namespace bhyve::dev {

u8 Ps2Device::take() {
  if (size_ == 0) return 0;
  last_ = bytes_[head_];
  head_ = (head_ + 1) % capacity;
  --size_;
  return last_;
}

bool Ps2Device::send(std::span<const u8> bytes) {
  if (bytes.size() > capacity - size_) return false;
  for (const u8 byte : bytes) bytes_[(head_ + size_++) % capacity] = byte;
  return true;
}

void Ps2Device::save(StateWriter& out) const {
  out.put_u8(static_cast<u8>(size_));
  for (unsigned i = 0; i < size_; ++i) out.put_u8(bytes_[(head_ + i) % capacity]);
  out.put_u8(last_);
}

void Ps2Device::load(StateSection& in) {
  clear();
  const unsigned count = in.get_u8();
  if (count > capacity) return in.reject();
  for (unsigned i = 0; i < count; ++i) send({in.get_u8()});
  last_ = in.get_u8();
}

}  // namespace bhyve::dev
