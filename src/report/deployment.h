#pragma once
// What a deployment shows: the outcome in the form that report/ draws.

#include <string>

#include "deploy/deploy.h"
#include "report/deploy_report.h"

namespace slipway::report {

DeployReport ReportOf(const deploy::DeployOutcome& outcome);

// Writes FOLDER/report.html and FOLDER/report.json.
Status WriteReport(const DeployReport& report, const std::string& folder);

}  // namespace slipway::report
