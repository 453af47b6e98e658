// The style sheet and the script of report.html.
#pragma once

namespace millrace {

// Classes c1 to c4 are colours apart from each other; from c5 on, eight that run from dark to light.
inline constexpr int kFirstTimestepColour = 5, kTimestepColours = 8;

extern const char* const kReportStyle;
extern const char* const kReportScript;

}  // namespace millrace
