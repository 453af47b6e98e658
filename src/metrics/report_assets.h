// The style sheet and the script of report.html.
#pragma once

namespace millrace {

extern const char* const kReportStyle;
extern const char* const kReportScript;

}  // namespace millrace
