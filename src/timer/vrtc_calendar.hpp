#pragma once
#include "base/types.hpp"

namespace bhyve::timer {

/// Calendar time without a zone (proleptic Gregorian), years 0 to 9999.
struct CalendarTime final {
  unsigned year = 1970;
  unsigned month = 1;  ///< 1..12
  unsigned day = 1;    ///< 1..31
  unsigned hour = 0, minute = 0, second = 0;
  unsigned weekday = 5;  ///< 1 = Sunday, as the MC146818 counts; ignored by seconds_from_calendar()
};

/// First and last second that the clock can show: 0000-01-01 and 9999-12-31.
inline constexpr i64 calendar_first = -62'167'219'200, calendar_last = 253'402'300'799;

/// Seconds since 1970-01-01; the argument is clamped to the range above.
[[nodiscard]] CalendarTime calendar_from_seconds(i64 seconds);
/// False when a field is out of range, such as February 30.
[[nodiscard]] bool seconds_from_calendar(const CalendarTime& time, i64& seconds);

}  // namespace bhyve::timer
