-- The health of a SAMLTenant, from what the operator says in its status. A
-- tenant whose status tells nothing yet is Progressing, never an error.
local function condition(kind)
  if obj.status ~= nil and obj.status.conditions ~= nil then
    for _, c in ipairs(obj.status.conditions) do
      if c.type == kind then
        return c
      end
    end
  end
  return {}
end

local function health(status, message)
  return { status = status, message = message or "the operator says nothing yet" }
end

local ready, stalled = condition("Ready"), condition("Stalled")

if obj.status == nil or obj.status.observedGeneration == nil
    or obj.status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not looked at this spec yet")
elseif obj.spec ~= nil and obj.spec.suspend == true then
  return health("Suspended", ready.message)
elseif stalled.status == "True" then
  return health("Degraded", stalled.message)
elseif ready.status == "True" then
  return health("Healthy", ready.message)
end
return health("Progressing", ready.message)
