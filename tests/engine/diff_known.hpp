#pragma once
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "diff_forms.hpp"

namespace bhyve::test::diff {

[[nodiscard]] bool host_is_intel();

/// The checked-in list of differences that are right (diff_known.txt says its format).
class Known final {
 public:
  /// Throws std::runtime_error on a line without a reason.
  explicit Known(const std::string& path);
  [[nodiscard]] bool expected(const Candidate& c, const std::string& aspect) const;
  /// Whether the list has any row for it, be it for another host.
  [[nodiscard]] bool mentions(const Candidate& c) const;
  [[nodiscard]] bool skip(const Candidate& c) const { return listed(c, "skip"); }

 private:
  [[nodiscard]] bool listed(const Candidate& c, const std::string& aspect) const;
  std::vector<std::pair<std::string, std::string>> rows_;
  std::set<std::string, std::less<>> mentioned_;
};

}  // namespace bhyve::test::diff
