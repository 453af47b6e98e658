// The style sheet and the script of report.html.
#pragma once

namespace millrace {

// Classes c1 to c4 are distinct colours; from c5 on, eight shades from dark to light.
inline constexpr int kFirstTimestepColour = 5, kTimestepColours = 8;

extern const char* const kReportStyle;
extern const char* const kReportScript;

}  // namespace millrace
