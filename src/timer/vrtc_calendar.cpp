#include "timer/vrtc_calendar.hpp"

#include <algorithm>
#include <array>

namespace bhyve::timer {

namespace {

constexpr i64 seconds_per_day = 86'400;
constexpr i64 days_per_400_years = 146'097;
/// From year 0, March 1 (years that begin in March have the leap day at their end) to 1970-01-01.
constexpr i64 epoch_day = 719'468;

constexpr bool leap(unsigned year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

constexpr unsigned days_in_month(unsigned year, unsigned month) {
  constexpr std::array<u8, 12> days{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && leap(year) ? 29 : days[month - 1];
}

/// Days before the month that is `index` months after March, in a year that begins in March.
constexpr i64 days_before(i64 index) { return (153 * index + 2) / 5; }

constexpr i64 floor_div(i64 a, i64 b) { return a / b - (a % b < 0 ? 1 : 0); }

}  // namespace

CalendarTime calendar_from_seconds(i64 seconds) {
  seconds = std::clamp(seconds, calendar_first, calendar_last);
  const i64 day_number = floor_div(seconds, seconds_per_day);
  const i64 in_day = seconds - day_number * seconds_per_day;
  const i64 days = day_number + epoch_day;
  const i64 era = floor_div(days, days_per_400_years);
  const i64 day_of_era = days - era * days_per_400_years;
  const i64 year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const i64 day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const i64 index = (5 * day_of_year + 2) / 153;
  CalendarTime time;
  time.month = static_cast<unsigned>(index < 10 ? index + 3 : index - 9);
  time.year = static_cast<unsigned>(era * 400 + year_of_era + (time.month <= 2 ? 1 : 0));
  time.day = static_cast<unsigned>(day_of_year - days_before(index) + 1);
  time.hour = static_cast<unsigned>(in_day / 3600);
  time.minute = static_cast<unsigned>(in_day / 60 % 60);
  time.second = static_cast<unsigned>(in_day % 60);
  // 1970-01-01 was a Thursday.
  time.weekday = static_cast<unsigned>(((day_number + 4) % 7 + 7) % 7 + 1);
  return time;
}

bool seconds_from_calendar(const CalendarTime& time, i64& seconds) {
  if (time.year > 9999 || time.month < 1 || time.month > 12 || time.day < 1 ||
      time.day > days_in_month(time.year, time.month) || time.hour > 23 || time.minute > 59 ||
      time.second > 59)
    return false;
  const i64 year = static_cast<i64>(time.year) - (time.month <= 2 ? 1 : 0);
  const i64 era = floor_div(year, 400);
  const i64 year_of_era = year - era * 400;
  const i64 index = time.month > 2 ? time.month - 3 : time.month + 9;
  const i64 day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
                         days_before(index) + time.day - 1;
  const i64 day_number = era * days_per_400_years + day_of_era - epoch_day;
  seconds = day_number * seconds_per_day + time.hour * 3600 + time.minute * 60 + time.second;
  return true;
}

}  // namespace bhyve::timer
