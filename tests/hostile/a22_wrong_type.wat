;; Imports a function of ours as if it took nothing and gave a number.
(component
  (import "hermes:plugin/session@0.1.0" (instance $session
    (export "log" (func (result u32)))))
  (core module $none)
  (core instance (instantiate $none))
  (instance $agent)
  (export "hermes:plugin/agent@0.1.0" (instance $agent)))
