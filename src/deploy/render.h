#pragma once
// What a deployment shows: the outcome in the form that report/ draws.

#include <string>

#include "deploy/deploy.h"
#include "report/deploy_report.h"

namespace slipway::deploy {

report::DeployReport ReportOf(const DeployOutcome& outcome);

}  // namespace slipway::deploy
